"""The SAF form of a network, to compare with its LIF form.

Shapes: those of `saf.model.inference`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from saf.lif.grid.saf_run import run_saf
from saf.lif.network import LIFNetwork
from saf.model.forward.saf_forward import Neurons
from saf.model.inference import infer_in_chunks
from saf.model.layers import Layer
from saf.model.lengths import Lengths
from saf.model.network import SpikingNetwork
from saf.neurons.base import Neuron


class SAFForm(NamedTuple):
    """The SAF form of a network."""

    neurons: Mapping[str, Neuron]
    """Its own neurons, by layer."""
    run: Callable[[Tensor, Neurons, int, Lengths | None], Iterator[Tensor | None]]
    """Computes images, with what runs its layers, the number of time steps at once, and how many
    are those of padded samples: the scores after each chunk, None as long as there are none."""


def saf_form(network: SpikingNetwork, lif: LIFNetwork) -> SAFForm:
    """SAF form of `network`, with the readout of `lif`."""
    steps, readout = lif.timesteps, lif.description.readout

    def run(
        images: Tensor, neurons: Neurons, at_once: int, lengths: Lengths | None
    ) -> Iterator[Tensor | None]:
        for tally in infer_in_chunks(
            network,
            images,
            steps,
            readout=readout,
            chunk=at_once,
            neurons=neurons,
            lengths=lengths,
        ):
            yield tally.scores

    return SAFForm(_neurons(network.layers), run)


def saf_form_on_grid(network: LIFNetwork) -> SAFForm:
    """SAF form of a LIF network on a grid, one time step at a time."""

    def run(
        images: Tensor, neurons: Neurons, at_once: int, lengths: Lengths | None
    ) -> Iterator[Tensor | None]:
        assert at_once == 1
        scores = None
        for t, step in enumerate(run_saf(network, images, neurons), 1):
            if lengths is None:
                scores = step.scores
            else:
                scores = lengths.held(scores, step.scores[None], [t])
            yield scores

    return SAFForm(_neurons(network.layers), run)


def _neurons(layers: Sequence[Layer]) -> dict[str, Neuron]:
    return {layer.name: layer.neurons for layer in layers if layer.neuron is not None}
