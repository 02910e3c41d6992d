"""Delay lines: what a layer sent in the last time steps, for connections with a delay.

Shapes: `K` time steps at once, `B` samples, `…` the shape of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class DelayLine(NamedTuple):
    """Signals of the last time steps. Recurrent state: pass it in, get the next one back."""

    depth: int
    """The longest delay with which it is read."""
    values: tuple[Tensor, ...] = ()
    """B … each, the newest last; none before the first time step, when all were zero."""

    def read(self, delay: int, now: Tensor, steps: int) -> Tensor:
        """The signal `delay` time steps ago, K · B …, at each of K `steps`; `now` (K · B …) is the
        signal at these, of which only the shape matters where K = 1. No gradient passes but that
        of what `values` hold."""
        first = len(self.values) - delay
        if steps == 1:
            return self.values[first] if first >= 0 else torch.zeros_like(now)
        rows = (*self.values, *now.detach().chunk(steps))
        nothing = torch.zeros_like(rows[0]) if first < 0 else rows[0]
        return torch.cat([rows[first + k] if first + k >= 0 else nothing for k in range(steps)])

    def after(self, now: Tensor, steps: int) -> DelayLine:
        """The line after K `steps` with the signal `now`, K · B …, without the memory of the time
        steps that it leaves out."""
        if steps == 0:
            return self
        arrived = now.chunk(steps)[-self.depth :]
        if steps > 1:
            arrived = tuple(each.clone() for each in arrived)
        return self._replace(values=(*self.values, *arrived)[-self.depth :])

    def detached(self) -> DelayLine:
        """The same line, detached from its graph."""
        return self._replace(values=tuple(each.detach() for each in self.values))


def lines(depths: Mapping[str, int]) -> dict[str, DelayLine]:
    """Empty lines of these depths, by source."""
    return {source: DelayLine(depth) for source, depth in depths.items()}
