"""Samples are read from the disk while the network computes on those before them.

A data set that is larger than the memory for the page cache comes from the disk in every epoch.
What the next batches need is announced to the kernel, which reads it meanwhile; values, their order
and what a checkpoint holds stay as they are.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from saf.training.batches import Samples

AHEAD = 2
"""Batches that are announced beyond the one that is computed."""


class Order(Protocol):
    """Which samples each iteration sees, such as `Batches`."""

    def __getitem__(self, step: int, /) -> Tensor: ...


class ReadAhead:
    """Announces the samples of coming iterations as soon as one had to wait for the disk: of a
    file that is in the cache nothing is announced."""

    def __init__(self, samples: Samples, order: Order, steps: int) -> None:
        """`order` has the rows of `samples` for iterations 0 to `steps` - 1."""
        self._samples, self._order, self._steps = samples, order, steps
        self._announced = 0

    def after(self, step: int) -> None:
        """The samples of iteration `step` were read: announce those of the next ones."""
        if not self._samples.waited:
            return
        until = min(step + 1 + AHEAD, self._steps)
        for coming in range(max(step + 1, self._announced), until):
            self._samples.announce(self._order[coming])
        self._announced = until
