"""A ReLU network as one of integrate-and-fire neurons: λ = 1, V = 1, reset by subtraction.

A neuron that gets the current a at every step fires at a rate of min(max(a, 0), 1) (Cao et al.
2015; Rueckauer et al. 2017, 10.3389/fnins.2017.00682). So the activations of each layer are brought
below 1: with s_l the scale of layer l, W_l becomes W_l s_{l−1} / s_l and b_l becomes b_l / s_l,
which is a threshold of s_l. With samples, s_l is a percentile of the layer's activations
(data-based normalisation); without, the largest that its weights allow for inputs in [0, 1]
(model-based, Diehl et al. 2015), which no sample exceeds and few come near.

Shapes: `N` samples, `C H W`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from saf.config.incoming import Reading
from saf.lif.incoming.nir_file import assumed_of_input
from saf.lif.incoming.stack import Incoming, Stack, plain_map
from saf.lif.incoming.state_dict import Matched, classes_of, matched, modules_of
from saf.lif.network import LIFNetwork
from saf.networks.architecture import (
    INPUT,
    Architecture,
    AveragePool,
    Conv,
    Flatten,
    LayerDescription,
    Linear,
    Operation,
    Scale,
    SumPool,
)
from saf.networks.build import build

TIMESTEPS = 32  # of rates, unless told
MOST_SAMPLES = 512
AT_ONCE = 32  # of them
MOST_VALUES = 2**17  # of a layer's activations, of as many samples
MOST_COMPARED = 2**32  # neurons, time steps and samples of a comparison


@dataclass(frozen=True)
class Samples:
    """What thresholds are balanced with, and what comes out is looked at with."""

    name: str
    train: Tensor
    """N C H W, values as the network takes them before mean and std."""
    test: Tensor
    labels: Tensor


def read_weights(path: Path, reading: Reading, samples: Samples | None = None) -> Incoming:
    """The network of integrate-and-fire neurons of the ReLU network whose state dict `path` is.
    Raises ValueError, which names the tensor that does not fit."""
    if reading.network is None or reading.shape is None:
        raise ValueError(
            f"{path.name} is no lif.safetensors, and weights alone do not say what is computed "
            'with them; send network (such as {"name": "layers", "layers": [{"kind": "conv", '
            '"channels": 8}, {"kind": "average_pool"}, {"kind": "linear", "features": 64}]}, or '
            "one of the catalogue) and shape (C, H, W of a sample)"
        )
    modules = modules_of(path)
    architecture = _plain(
        build(reading.network, reading.shape, classes_of(modules, reading.order)),
        reading.network.name,
    )
    maps = matched(modules, reading.order, architecture)
    of = ReLU(architecture, maps, reading.mean, reading.std)
    if samples is not None and tuple(samples.train.shape[1:]) != reading.shape:
        raise ValueError(
            f"the samples of {samples.name} have the shape {tuple(samples.train.shape[1:])}, and "
            f"shape says {reading.shape}"
        )
    scales = of.largest() if samples is None else of.percentiles(samples.train, reading.percentile)
    said = [each.said for each in maps]
    said.append(
        "thresholds are the largest activations that the weights allow for inputs in [0, 1]; with "
        "a data set (dataset) they become a percentile of its activations, with which far fewer "
        "steps do"
        if samples is None
        else f"thresholds are the percentile {reading.percentile:g} of the activations on "
        f"{len(samples.train)} training samples of {samples.name}"
    )
    of_layers = zip(architecture.layers, scales, strict=True)
    silent = [layer.name for layer, scale in of_layers if not scale]
    if silent:
        said.append(f"nothing in {', '.join(silent)} is above 0 there: such layers stay silent")
    said += [
        "neurons integrate without a leak (λ = 1, V = 1) and reset by subtraction; ReLU follows "
        "every layer, after its BatchNorm and before pooling",
        *assumed_of_input(reading, TIMESTEPS),
    ]
    network = _converted(of, [scale or 1.0 for scale in scales], reading, said)
    if samples is not None:
        said += _compared(of, network, samples)
    return Incoming(network, "weights", tuple(said))


class ReLU:
    """The ReLU network itself, in float64."""

    def __init__(
        self,
        architecture: Architecture,
        maps: list[Matched],
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        self.architecture, self.maps = architecture, maps
        channels = architecture.input_shape[0]
        for name, values in (("mean", mean), ("std", std)):
            if len(values) not in (0, channels):
                raise ValueError(f"{name} has {len(values)} values for {channels} channels")
        self._mean = torch.tensor(mean or (0.0,) * channels, dtype=torch.float64).view(-1, 1, 1)
        self._std = torch.tensor(std or (1.0,) * channels, dtype=torch.float64).view(-1, 1, 1)

    def operations(self) -> list[tuple[LayerDescription, list[tuple[Operation, Matched | None]]]]:
        """The operations of each layer, the readout last, with the weights of maps."""
        maps = iter(self.maps)
        return [
            (
                layer,
                [
                    (each, next(maps) if isinstance(each, Conv | Linear) else None)
                    for each in layer.connections[0].operations
                ],
            )
            for layer in (*self.architecture.layers, self.architecture.readout)
        ]

    def scores(self, x: Tensor) -> Tensor:
        """N K of samples N C H W."""
        return torch.cat([self._activations(part)[-1] for part in x.split(AT_ONCE)])

    def percentiles(self, x: Tensor, percentile: float) -> list[float]:
        """Of the activations of each layer but the readout."""
        kept: list[list[np.ndarray]] = [[] for _ in self.architecture.layers]
        for part in x.split(AT_ONCE):
            *activations, _ = self._activations(part)
            for values, each in zip(kept, activations, strict=True):
                flat = each.flatten()
                step = max(1, -(-len(flat) // MOST_VALUES))
                while gcd(step, len(flat)) > 1:  # else some channels or columns alone are read
                    step += 1
                # Copied: a view would keep all of them.
                values.append(flat[::step].numpy().copy())
        return [float(np.percentile(np.concatenate(each), percentile)) for each in kept]

    def _activations(self, x: Tensor) -> list[Tensor]:
        x = (x.double() - self._mean) / self._std
        found = []
        for layer, operations in self.operations():
            for operation, of in operations:
                x = _applied(operation, x, of)
            if layer is not self.architecture.readout:
                x = x.relu()
            found.append(x)
        return found

    def largest(self) -> list[float]:
        """Bounds of the activations of each layer but the readout, inputs within [0, 1]."""
        shape = self.architecture.input_shape
        low = ((0 - self._mean) / self._std).expand(shape)[None]
        high = ((1 - self._mean) / self._std).expand(shape)[None]
        found = []
        for layer, operations in self.operations()[:-1]:
            assert layer is not self.architecture.readout
            for operation, of in operations:
                low, high = _bounds(operation, low, high, of)
            low, high = low.relu(), high.relu()
            found.append(float(high.max()))
        return found


def _plain(architecture: Architecture, name: str) -> Architecture:
    """The layers without standardisation, gains and the scale after spikes, which a ReLU network
    has not."""
    source, layers = INPUT, []
    for layer in (*architecture.layers, architecture.readout):
        (connection, *others) = layer.connections
        if others or layer.relay or connection.source != source or connection.delay:
            raise ValueError(
                f"network {name} has connections besides those from layer to layer ({layer.name}); "
                "weights are read of layers that follow one another: mlp, convnet, vgg11 or layers"
            )
        if any(each.of_rows for each in connection.operations):
            raise ValueError(
                f"network {name} has maps of one dimension ({layer.name}), whose weights are not "
                "read; use conv and average_pool"
            )
        operations = tuple(
            each.model_copy(
                update={"standardised": False, "initial_gain": 1.0, "residual_gain": None}
            )
            if isinstance(each, Conv | Linear)
            else each
            for each in connection.operations
            if not isinstance(each, Scale)
        )
        one = connection.model_copy(update={"operations": operations})
        layers.append(layer.model_copy(update={"connections": (one,)}))
        source = layer.name
    *hidden, readout = layers
    return Architecture(input_shape=architecture.input_shape, layers=tuple(hidden), readout=readout)


def _applied(operation: Operation, x: Tensor, of: Matched | None) -> Tensor:
    match operation:
        case Conv():
            assert of is not None
            return F.conv2d(
                x,
                torch.from_numpy(of.weight),
                torch.from_numpy(of.bias),
                stride=operation.stride,
                padding=operation.padding,
                groups=operation.groups,
            )
        case Linear():
            assert of is not None
            return F.linear(x, torch.from_numpy(of.weight), torch.from_numpy(of.bias))
        case AveragePool():
            return F.avg_pool2d(x, operation.kernel)
        case SumPool():
            return F.avg_pool2d(x, operation.kernel) * operation.kernel**2
        case Flatten():
            return x.flatten(1)
        case _:
            raise ValueError(f"{operation.kind} is no part of a ReLU network that is read")


def _bounds(
    operation: Operation, low: Tensor, high: Tensor, of: Matched | None
) -> tuple[Tensor, Tensor]:
    if of is None:
        return _applied(operation, low, None), _applied(operation, high, None)
    up = Matched(of.layer, of.weight.clip(min=0), of.bias, "")
    down = Matched(of.layer, of.weight.clip(max=0), np.zeros_like(of.bias), "")
    return (
        _applied(operation, low, up) + _applied(operation, high, down),
        _applied(operation, high, up) + _applied(operation, low, down),
    )


def _converted(of: ReLU, scales: list[float], reading: Reading, said: list[str]) -> LIFNetwork:
    stack = Stack(of.architecture.input_shape)
    before = 1.0
    for (layer, operations), scale in zip(of.operations(), [*scales, 1.0], strict=True):
        for number, (operation, weights) in enumerate(operations):
            if weights is None:
                stack.add(operation)
                continue
            first = all(each is None for _, each in operations[:number])
            factor = before / scale if first else 1.0
            changed = plain_map(weights.weight)
            if isinstance(operation, Conv):
                changed = operation
            stack.add(changed, weights.weight * factor, weights.bias / scale)
        if layer is not of.architecture.readout:
            ones = np.ones(stack.shape[0])
            stack.fire(ones, 0 * ones, {"name": "lif", "decay": 1.0, "threshold": 1.0})
        before = scale
    return stack.finish(
        timesteps=reading.timesteps or TIMESTEPS,
        decay=1.0,
        threshold=1.0,
        mean=reading.mean,
        std=reading.std,
        record={
            "from": "weights",
            "reading": reading.model_dump(mode="json", exclude_unset=True),
            "assumptions": list(said),
        },
    )


def _compared(of: ReLU, network: LIFNetwork, samples: Samples) -> Iterator[str]:
    if network.timesteps * of.architecture.neurons * len(samples.labels) > MOST_COMPARED:
        return
    here = network.predict(samples.test.to(network.dtype))
    there = of.scores(samples.test).argmax(1)
    right = [float((each == samples.labels).double().mean()) for each in (there, here)]
    yield (
        f"of {len(samples.labels)} test samples of {samples.name} the ReLU network has "
        f"{right[0]:.1%} right and the integrate-and-fire network at T = {network.timesteps} "
        f"{right[1]:.1%}"
    )
