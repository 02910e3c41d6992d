"""Replay: the last of several time steps again, with a graph, without evaluating its maps again.

SAF with a loss at the final time step differentiates that time step only. All of them run together
without a graph while `Replay` stores the results of the maps at the last one. That one then runs
again with a graph and reads the results of its maps from here, so that every map is evaluated once
per time step, for all of them at once.
"""

from __future__ import annotations

from collections import deque

from torch import Tensor


class Replay:
    """Results of the maps between layers at the last of K time steps, in the order of
    evaluation."""

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
        """Result of the next map, B …; the caller owns its memory."""
        return self._results.popleft()
