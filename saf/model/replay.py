"""The last of several steps once more, with a graph, and without another evaluation of its maps.

SAF with a loss at the final step differentiates that step alone. All steps run together without a
graph, while `Replay` keeps what the maps gave at the last one; then that one runs again with a
graph, and takes the results of its maps from here: every map is evaluated once per step, for all
steps at once.
"""

from __future__ import annotations

from collections import deque

from torch import Tensor


class Replay:
    """What the maps between layers gave at the last of K steps, in the order of evaluation."""

    def __init__(self, samples: int) -> None:
        """`samples` is B, the number of rows of the last step."""
        self._samples = samples
        self._results: deque[Tensor] = deque()
        self.again = False
        """Whether the last step is being run again: `keep` until then, `take` from then on."""

    def keep(self, result: Tensor) -> Tensor:
        """Remember the last step, B …, of `result`, K · B …, which is returned."""
        self._results.append(result[-self._samples :].clone())
        return result

    def take(self) -> Tensor:
        """What the next map gave, B …; the caller owns its memory."""
        return self._results.popleft()
