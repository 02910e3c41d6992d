"""LIF networks to put on a grid, and images for them."""

from typing import Any

import torch
from hypothesis import reject
from hypothesis import strategies as st
from torch import Tensor

from saf.config import JobSpecification, Neuron
from saf.lif.convert import convert, on_grid
from saf.lif.grid.exactness import bounds
from saf.lif.grid.fixed_point import Grid
from saf.lif.header import LIFDescription
from saf.lif.network import LIFNetwork
from saf.model.network import SpikingNetwork
from saf.networks.architecture import (
    INPUT,
    Architecture,
    Connection,
    Conv,
    Flatten,
    LayerDescription,
    Linear,
)
from saf.networks.build import build
from tests.saf.networks.random_networks import CLASSES, INPUT_SHAPE, randomise
from tests.saf.training.trainings import resolved

POWERS = (1.0, 0.5, 0.25, 0.125)


@st.composite
def decays(draw: st.DrawFn, layers: int, *, mixed: bool) -> Neuron:
    """LIF neurons with one λ that is a power of two; where they are `mixed`, perhaps with one for
    each of the spiking layers."""
    decay = draw(st.sampled_from(POWERS))
    if not (mixed and draw(st.booleans())):
        return Neuron(decay=decay)
    own = st.tuples(*[st.sampled_from(POWERS)] * layers)
    return Neuron(decay=decay, decays=draw(own))


def converted(
    architecture: Architecture,
    seed: int,
    timesteps: int,
    method: str,
    *,
    frames: bool = False,
    neuron: Neuron | None = None,
) -> LIFNetwork:
    """A network with random weights as LIF neurons (by default those of a job), on no grid."""
    generator = torch.Generator().manual_seed(seed)
    mean, std = (0.4, 0.5)[: architecture.input_shape[0]], (0.25, 0.3)
    network = SpikingNetwork(
        architecture, neuron or Neuron(), mean=mean, std=std[: len(mean)], seed=0
    ).double()
    randomise(network, generator)
    specification = resolved({"timesteps": timesteps, "method": {"name": method}})
    names = [str(n) for n in range(architecture.classes)]
    return convert(network, specification, class_names=names, frames=frames)


def images(seed: int, count: int, shape: tuple[int, ...] = INPUT_SHAPE) -> Tensor:
    """Bytes as pixels; the first image is black, the second white, the third in between."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)
    x[0], x[1] = 0, 255
    return x.float() / 255


def samples(seed: int, count: int, network: LIFNetwork) -> Tensor:
    """`images`, or as many sequences of event frames where `network` takes those."""
    steps = (network.timesteps,) if network.description.frames else ()
    return images(seed, count, (*steps, *network.description.architecture.input_shape))


def exact_grid(network: LIFNetwork) -> LIFNetwork:
    """The finest grid on which float32 is exact."""
    found = (on_grid(network, bits) for bits in range(20, 0, -1))
    for candidate in found:
        if all(bound.within for bound in bounds(candidate)):
            return candidate
    return reject()  # of small λ and many time steps there may be none


def architected(network: dict[str, Any], *shape: int) -> LIFNetwork:
    """A network by its settings, for images `C H W` of ten classes, on its finest exact grid."""
    job = JobSpecification.model_validate({"network": network})
    return exact_grid(converted(build(job.network, shape, 10), 3, 4, "saf-f"))


def linear(source: str, name: str, features: int) -> LayerDescription:
    flat: tuple[Any, ...] = (Flatten(),) if source == INPUT else ()
    operations = (*flat, Linear(out_features=features))
    return LayerDescription(
        name=name, connections=(Connection(source=source, operations=operations),)
    )


def described(
    architecture: Architecture, steps: int, grid: Grid | None, **changes: Any
) -> LIFDescription:
    return LIFDescription.model_validate(
        {
            "architecture": architecture,
            "decay": 0.5,
            "threshold": 1.0,
            "timesteps": steps,
            "readout": "weighted",
            "frames": False,
            "mean": (0.0,) * architecture.input_shape[0],
            "std": (1.0,) * architecture.input_shape[0],
            "class_names": tuple("abcdef"[: architecture.classes]),
            "specification": {},
            "grid": grid,
        }
        | changes
    )


def architecture_of_one_layer() -> Architecture:
    convolution = Connection(source=INPUT, operations=(Conv(out_channels=4),))
    flat = Connection(source="layer1", operations=(Flatten(), Linear(out_features=CLASSES)))
    return Architecture(
        input_shape=INPUT_SHAPE,
        layers=(LayerDescription(name="layer1", connections=(convolution,)),),
        readout=LayerDescription(name="readout", connections=(flat,)),
    )
