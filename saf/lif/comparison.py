"""Spikes of SAF neurons compared with those of LIF neurons, while the SAF neurons run.

Shapes: `K` steps, `B` samples, `…` the shape of a layer; K · B is steps and samples merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from saf.kernels import native
from saf.kernels.saf_scan import Constant, blocks, rows_of, scan, several
from saf.lif.sequence import LIFChunk
from saf.neurons.base import Accumulated, Neuron
from saf.neurons.lif import LIF


class Differences(NamedTuple):
    """What a comparison counted, beside the result of the scan."""

    fired: int  # spikes of the SAF neurons
    differing: int  # spikes that one of both has and the other has not
    largest: float  # |u − V| where they differ, of the neuron where it is larger: the largest …
    total: float  # … and their sum


def compared_scan(
    current: Tensor | None,
    constant: Constant,
    carry: Tensor | None,
    decay: float,
    threshold: float,
    spikes: Tensor,
    potentials: Tensor,
) -> tuple[Tensor, Differences]:
    """Compute `saf.kernels.saf_scan.scan` without a gate, and compare its spikes with `spikes`, K ·
    B …, of LIF neurons that had `potentials` before their reset. Returns â, K · B …; `current` is
    overwritten.

    In float32 on a CPU, inside `saf.kernels.native.allowed`, C++ computes it in one pass over the
    memory, with the same numbers but for the order in which margins are added up.
    """
    found = _in_cpp(current, constant, carry, decay, threshold, spikes, potentials)
    if found is not None:
        return found
    scanned = scan(current, constant, carry, decay, threshold, lambda u, _: u)
    assert scanned.derivative is not None
    fired = differing = 0
    largest = total = 0.0
    for block in blocks(scanned.derivative):
        u, u_lif = scanned.derivative[block], potentials[block]
        own = torch.ge(u, threshold)
        fired += int(own.sum())
        apart = own != spikes[block].bool()
        if count := int(apart.sum()):
            differing += count
            margins = torch.maximum((u[apart] - threshold).abs(), (u_lif[apart] - threshold).abs())
            largest = max(largest, float(margins.max()))
            total += float(margins.sum(dtype=torch.float64))
    return scanned.accumulation, Differences(fired, differing, largest, total)


def _in_cpp(
    current: Tensor | None,
    constant: Constant,
    carry: Tensor | None,
    decay: float,
    threshold: float,
    spikes: Tensor,
    potentials: Tensor,
) -> tuple[Tensor, Differences] | None:
    value, shared, factors, _ = constant
    if not native.is_allowed() or value.device.type != "cpu":
        return None
    u = several(value, len(factors)) if current is None else current
    steps, channels = len(factors), u.shape[1]
    rows = u.numel() // channels // steps
    seen = [(x, steps * rows) for x in (u, spikes, potentials)]
    seen.append((value, 1 if shared else rows))
    if carry is not None:
        seen.append((carry, rows))
    for x, length in seen:
        found = rows_of(x)
        if found is None or found.shape != (length, channels) or x.dtype != torch.float32:
            return None
    library = native.library("scan")
    if library is None:
        return None
    told = torch.zeros(4, dtype=torch.float64)
    native.call(
        library.compare_float32,
        *(u, current is not None, value, shared, carry, factors),
        *(steps, rows, channels, float(decay), float(threshold), spikes, potentials, told),
    )
    fired, differing, largest, total = told.tolist()
    return u, Differences(int(fired), int(differing), largest, total)


class LayerTally:
    """Sums of the comparison of one layer, over batches and time steps."""

    def __init__(self) -> None:
        self._compared = self._fired = self._differing = 0
        self._largest = self._total = 0.0

    def add(self, neurons: int, found: Differences) -> None:
        """Add a chunk of so many neurons × samples × time steps."""
        self._compared += neurons
        self._fired += found.fired
        self._differing += found.differing
        self._largest = max(self._largest, found.largest)
        self._total += found.total

    def result(self, fired_lif: int) -> dict[str, Any]:
        """Result as JSON values; `margin_*` is |u − V| where the spikes differ, the larger of
        both networks (of other models than LIF the difference of their potentials)."""
        return {
            "spikes_compared": self._compared,
            "spikes_differing": self._differing,
            "firing_rate_saf": self._fired / self._compared,
            "firing_rate_lif": fired_lif / self._compared,
            "margin_largest": self._largest if self._differing else None,
            "margin_mean": self._total / self._differing if self._differing else None,
        }


class Comparison:
    """A network of SAF neurons beside one of LIF neurons, chunk by chunk."""

    def __init__(self, neurons: Mapping[str, Neuron]) -> None:
        """`neurons` are those of each layer by name."""
        self.layers = {name: LayerTally() for name in neurons}
        self.chunk: LIFChunk | None = None
        """What the LIF neurons do in the chunk that the SAF neurons run next."""
        self._neurons = neurons

    def neurons(
        self,
        name: str,
        current: Tensor | None,
        constant: Constant,
        before: Tensor | None,
        carried: tuple[Tensor, ...],
    ) -> Accumulated:
        """Run a layer, as `neurons` of `saf.model.forward.saf_forward.advance`, and compare."""
        assert self.chunk is not None
        spikes, potentials = self.chunk.spikes[name], self.chunk.potentials[name]
        own = self._neurons[name]
        if isinstance(own, LIF):
            accumulation, found = compared_scan(
                current, constant, before, own.decay, own.threshold, spikes, potentials
            )
            fired = torch.tensor(float(found.fired), device=spikes.device)
            result = Accumulated(accumulation, fired)
        else:
            result = own.accumulate(current, constant, before, carried=carried, potentials=True)
            steps = len(constant.forward)
            found = _compared(result, before, own.decay, steps, spikes, potentials)
        self.layers[name].add(spikes.numel(), found)
        return result


def _compared(
    result: Accumulated,
    before: Tensor | None,
    decay: float,
    steps: int,
    spikes: Tensor,
    potentials: Tensor,
) -> Differences:
    """Compare the spikes of neurons of any model, s[t] = â[t] − λ â[t−1], with `spikes`. What
    potential a neuron fires at is its own affair, so |u − u_LIF| takes the place of |u − V|."""
    past = before
    fired = differing = 0
    largest = total = 0.0
    samples = len(result.accumulation) // steps
    for step, own in enumerate(result.accumulation.chunk(steps)):
        rows = slice(step * samples, (step + 1) * samples)
        sent = (own if past is None else own - decay * past) >= 0.5
        past = own
        apart = sent != spikes[rows].bool()
        fired += int(sent.sum())
        if count := int(apart.sum()):
            differing += count
            if result.potentials is not None:
                margins = (result.potentials[rows][apart] - potentials[rows][apart]).abs()
                largest = max(largest, float(margins.max()))
                total += float(margins.double().sum())
    return Differences(fired, differing, largest, total)
