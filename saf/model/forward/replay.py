"""Replay: time steps again, with a graph, without evaluating their maps again.

SAF with a loss at the final time step differentiates that time step only. All of them run together
without a graph while `Replay` stores the results of the maps at the last one. That one then runs
again with a graph and reads the results of its maps from here, so that every map is evaluated once
per time step, for all of them at once. `ReplayOfSteps` is the same for time steps that run one
after the other, and then again all at once.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

import torch
from torch import Tensor


class Replay:
    """Results of the maps between layers at the last of K time steps, in the order of
    evaluation."""

    withheld: ClassVar[int] = 1
    """Number of time steps that run again from the state before them, while results are stored."""

    def __init__(self, samples: int) -> None:
        """`samples` is B, the number of rows of the last step."""
        self._samples = samples
        self._results: deque[Tensor] = deque()
        self.again = False
        """Whether the last step is being run again: `keep` until then, `take` from then on."""

    def keep(self, result: Tensor) -> Tensor:
        """Store the last time step, B …, of `result`, K · B …; returns `result`."""
        self._results.append(result[-self._samples :].clone())
        return result

    def take(self) -> Tensor:
        """Result of the next map; the caller owns its memory."""
        return self._results.popleft()


class ReplayOfSteps(Replay):
    """Results of the maps at K time steps that run one after the other; `take` returns those of
    all steps, K · B …."""

    withheld: ClassVar[int] = 0

    def __init__(self, samples: int, steps: int) -> None:
        """`samples` is B, `steps` K."""
        super().__init__(samples)
        self._steps = steps
        self._step = -1
        self._next = 0

    def begin(self) -> None:
        """The next time step begins."""
        self._step, self._next = self._step + 1, 0

    def keep(self, result: Tensor) -> Tensor:
        """Store `result`, B …, of this time step; returns it."""
        if self._step == 0:
            self._results.append(_of_steps(result, self._steps))
        start = self._step * self._samples
        self._results[self._next][start : start + self._samples] = result
        self._next += 1
        return result


def _of_steps(result: Tensor, steps: int) -> Tensor:
    """Memory for K results like `result`, B …, with its layout: K · B …."""
    shape = (steps * len(result), *result.shape[1:])
    last = result.dim() == 4 and result.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.empty(shape, dtype=result.dtype, device=result.device, memory_format=layout)
