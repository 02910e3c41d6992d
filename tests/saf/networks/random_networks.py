"""Small random networks of every kind the description allows: skips, relays that add them up,
feedback, delays, learned or not, pooling, strides, groups, several maps in a row, gains of
branches, fully connected layers, dropout; with weights that make the neurons fire."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from saf.config import Neuron, Surrogate
from saf.model.dropout import dropout_masks
from saf.model.forward.presentation import NO_DROPOUT, Masks
from saf.model.network import SpikingNetwork
from saf.networks.architecture import (
    INPUT,
    Architecture,
    AveragePool,
    Connection,
    Conv,
    Flatten,
    LayerDescription,
    LearnedDelay,
    Linear,
    Operation,
    Scale,
    Shape,
    SumPool,
    Upsample,
    weighted,
)

CLASSES = 3
INPUT_SHAPE = (2, 8, 8)


class Case:
    """A network with a batch to show it, and the masks of its dropout."""

    def __init__(
        self,
        network: SpikingNetwork,
        x: Tensor,
        y: Tensor,
        timesteps: int,
        masks: Masks = NO_DROPOUT,
    ) -> None:
        self.network, self.x, self.y, self.timesteps = network, x, y, timesteps
        self.masks = masks

    def __repr__(self) -> str:  # what hypothesis prints of a failure
        return (
            f"T={self.timesteps} x={tuple(self.x.shape)} {self.network.neuron} "
            f"{self.network.architecture}"
        )


def _connecting(draw: st.DrawFn, source: str, shape: Shape, target: Shape) -> Connection:
    """A connection that turns `shape` into `target`: shrinks by stride or pooling, or widens by
    padding, or passes as it is."""
    groups = draw(st.sampled_from([1, 2]))
    standardise = draw(st.booleans())
    operations: list[Operation] = []
    if draw(st.booleans()):
        operations.append(Scale(factor=draw(st.sampled_from([0.5, 2.74]))))
    if len(target) == 1:
        if len(shape) == 3:
            operations.append(Flatten())
        return Connection(
            source=source,
            operations=(
                *operations,
                Linear(
                    out_features=target[0],
                    standardised=standardise,
                    residual_gain=draw(st.sampled_from([None, None, 0.5])),
                ),
            ),
        )
    side, wanted = shape[1], target[1]
    if shape == target and draw(st.booleans()):
        return Connection(source=source, operations=tuple(operations))
    if side > wanted and draw(st.booleans()):
        ratio = side // wanted
        pools = [AveragePool(kernel=ratio), SumPool(kernel=ratio)]
        operations.append(draw(st.sampled_from(pools)))  # type: ignore[arg-type]
        side = wanted
    if side < wanted and wanted % side == 0 and draw(st.booleans()):
        operations.append(Upsample(factor=wanted // side))
        side = wanted
    if side >= wanted:
        ratio = side // wanted
        kernel, padding = (3, 1) if draw(st.booleans()) and ratio < 3 else (ratio, 0)
    else:
        ratio = 1
        kernel = 1 if (wanted - side) % 2 == 0 else 2
        padding = (wanted - side + kernel - 1) // 2
    if draw(st.integers(0, 4)) == 0:
        operations.append(Conv(out_channels=2, kernel=1, padding=0, standardised=False))
    # With few inputs the standardised weights hardly depend on the raw ones: all is cancellation.
    standardise = standardise and kernel == 3
    operations.append(
        Conv(
            out_channels=target[0],
            kernel=kernel,
            stride=ratio,
            padding=padding,
            groups=groups,
            standardised=standardise,
            residual_gain=draw(st.sampled_from([None, None, 0.5])),
        )
    )
    return Connection(source=source, operations=tuple(operations))


def _is_feedback(source: str, known: list[tuple[str, Shape]]) -> bool:
    return source not in {name for name, _ in known}


@st.composite
def architectures(
    draw: st.DrawFn,
    *,
    skips: bool = True,
    feedback: bool = True,
    delays: bool = False,
    frames: bool = False,
) -> Architecture:
    """One to four convolutional layers, perhaps a fully connected one, and a readout; any of
    them may be a relay, but not all. With `delays` connections may have some, those from the input
    where it is `frames`."""
    shapes: list[tuple[str, Shape]] = []
    side = INPUT_SHAPE[1]
    for number in range(1, draw(st.integers(1, 4)) + 1):
        side = max(2, side // draw(st.sampled_from([1, 2])))
        shapes.append((f"layer{number}", (4, side, side)))
    if draw(st.booleans()):
        shapes.append((f"layer{len(shapes) + 1}", (6,)))
    relays = {name for name, _ in shapes if draw(st.integers(0, 2)) == 0}
    if len(relays) == len(shapes):
        relays.remove(draw(st.sampled_from([name for name, _ in shapes])))
    known: list[tuple[str, Shape]] = [(INPUT, INPUT_SHAPE)]
    layers = []
    for number, (name, shape) in enumerate(shapes):
        connections = [_connecting(draw, *known[-1], shape)]
        if skips and number and draw(st.booleans()):
            connections.append(_connecting(draw, *draw(st.sampled_from(known)), shape))
        if feedback and draw(st.booleans()):
            later = [(n, s) for n, s in shapes[number:] if len(s) == 3 or len(shape) == 1]
            later = [(n, s) for n, s in later if n not in relays]
            if later:
                connections.append(_connecting(draw, *draw(st.sampled_from(later)), shape))
        if delays and draw(st.integers(0, 2)) == 0:
            late = draw(st.integers(0, len(connections) - 1))
            if frames or connections[late].source != INPUT:
                delay: dict[str, object] = {"delay": draw(st.integers(1, 3))}
                if draw(st.booleans()) and weighted(connections[late]):
                    delay["learned_delay"] = LearnedDelay(span=draw(st.integers(1, 2)), width=0.6)
                    delay["delay"] = 1 if _is_feedback(connections[late].source, known) else 0
                connections[late] = connections[late].model_copy(update=delay)
        layer = LayerDescription(name=name, connections=tuple(connections), relay=name in relays)
        layers.append(layer)
        known.append((name, shape))
    to_readout = [_connecting(draw, *known[-1], (CLASSES,))]
    if skips and draw(st.booleans()):
        to_readout.append(_connecting(draw, *draw(st.sampled_from(known)), (CLASSES,)))
    return Architecture(
        input_shape=INPUT_SHAPE,
        layers=tuple(layers),
        readout=LayerDescription(name="readout", connections=tuple(to_readout)),
    )


@st.composite
def cases(
    draw: st.DrawFn, *, skips: bool = True, feedback: bool = True, fewest: int = 1, most: int = 3
) -> Case:
    """A network in float64 with random weights, λ, V, T, on `fewest` to `most` images or samples of
    event frames; perhaps with dropout."""
    frames = draw(st.booleans())
    architecture = draw(
        architectures(skips=skips, feedback=feedback, delays=feedback, frames=frames)
    )
    neuron = Neuron(
        decay=draw(st.sampled_from([0.25, 0.5, 0.9, 1.0]) | st.floats(0.05, 1.0)),
        threshold=draw(st.sampled_from([0.5, 1.0]) | st.floats(0.3, 3.0)),
        surrogate=Surrogate(
            name=draw(st.sampled_from(["sigmoid", "triangle", "rectangle", "arctan"])),
            slope=draw(st.floats(0.5, 4.0)),
        ),
        dropout=draw(st.sampled_from([0.0, 0.3])),
    )
    timesteps = draw(st.integers(1, 8))
    samples = draw(st.integers(fewest, most))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    network = SpikingNetwork(
        architecture, neuron, mean=[0.4, 0.5], std=[0.25, 0.3], seed=0
    ).double()
    randomise(network, generator)
    shape = (samples, timesteps, *INPUT_SHAPE) if frames else (samples, *INPUT_SHAPE)
    x = torch.rand(shape, generator=generator, dtype=torch.float64)
    y = torch.randint(CLASSES, (samples,), generator=generator)
    return Case(network, x, y, timesteps, dropout_masks(network, samples, generator))


@torch.no_grad()
def randomise(network: SpikingNetwork, generator: torch.Generator) -> None:
    """Weights, gains and biases drawn so that a layer gets input of the order of V."""
    V = network.neuron.threshold
    for name, parameter in network.named_parameters():
        if name.endswith("residual_gain"):
            parameter.uniform_(-1.5, 1.5, generator=generator)
        elif name.endswith("gain"):
            parameter.uniform_(0.5, 1.5, generator=generator).mul_(V)
        elif name.endswith("bias"):
            parameter.uniform_(-0.2 * V, 0.8 * V, generator=generator)
        elif name.endswith("centre"):
            parameter.uniform_(-0.2, 1.2, generator=generator)
        else:
            fan_in = parameter[0].numel()
            parameter.normal_(0.0, V * fan_in**-0.5, generator=generator)
