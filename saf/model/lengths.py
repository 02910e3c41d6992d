"""Samples of different lengths, padded to T time steps: what counts is what comes before their end.

Shapes: `B` samples, `K` time steps of a chunk.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from saf.kernels.transfer import sent


class Lengths:
    """How many of the T time steps of each sample are its own."""

    def __init__(self, steps: Tensor) -> None:
        """`steps` is B, whole numbers from 1 to T, on the CPU."""
        self.steps = steps
        self._here: Tensor | None = None

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def ends(self) -> frozenset[int]:
        """The time steps, from 1, that are the last one of a sample."""
        return frozenset(self.steps.tolist())

    def split(self, parts: int) -> list[Lengths]:
        """Those of parts of the batch, as `Tensor.tensor_split` cuts it."""
        return [Lengths(part) for part in self.steps.tensor_split(parts)]

    def again(self, x: Tensor) -> Tensor:
        """Samples `x`, B T …, each of which begins anew behind its end, in place of the padding."""
        steps = torch.arange(x.shape[1], device=x.device) % self._on(x)[:, None]
        return x[torch.arange(len(x), device=x.device)[:, None], steps]

    def going(self, times: Sequence[int], like: Tensor) -> Tensor:
        """Whether a sample has not ended before each of the time steps, K B, on the device of
        `like`."""
        first = torch.arange(times[0], times[-1] + 1, device=like.device)
        return first[:, None] <= self._on(like)

    def shown(self, timesteps: int) -> float:
        """How many samples of T `timesteps` have as many time steps as are these samples' own."""
        return float(self.steps.sum()) / timesteps

    def shares(self, t: int, like: Tensor) -> Tensor:
        """The weight of each sample in a loss that is a mean over its own time steps: one of them
        at the time step t, 0 after its end; B, as `like` otherwise."""
        own = self._on(like)
        return (own >= t).to(like.dtype) / own.to(like.dtype)

    def ending(self, t: int, like: Tensor) -> Tensor:
        """1 for samples whose last time step is t, else 0; B, as `like` otherwise."""
        return (self._on(like) == t).to(like.dtype)

    def held(self, before: Tensor | None, after: Tensor, times: Sequence[int]) -> Tensor:
        """What each sample has at its own end, or so far, B …: `before` is that of the time steps
        before, and `after`, K B …, what there is after each of `times`."""
        found = after[0] if before is None else before
        for own, going in zip(after, self.going(times, after), strict=True):
            found = torch.where(going.view(-1, *(1,) * (own.dim() - 1)), own, found)
        return found

    def at_the_end(self, outputs: Tensor) -> Tensor:
        """`outputs`, T B …, at the end of each sample: B …"""
        last = (self._on(outputs) - 1).view(1, -1, *(1,) * (outputs.dim() - 2))
        return outputs.gather(0, last.expand(1, *outputs.shape[1:]))[0]

    def _on(self, like: Tensor) -> Tensor:
        if self._here is None or self._here.device != like.device:
            self._here = sent(self.steps, like.device)
        return self._here
