"""How an image is presented: whole at every time step, or as a sequence of its parts; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from saf.config.base import Strict

Present = Literal["whole", "rows", "columns", "pixels"]
Part = Literal["rows", "columns", "pixels"]
Size = Annotated[int, Field(ge=1)]


class _Order(NamedTuple):
    """What a presentation makes of images N C H W."""

    words: str
    axes: tuple[int, int, int, int]
    """N, the axes of time, then C and the others: those of N C H W by their numbers."""


_ORDERS: dict[Part, _Order] = {
    "rows": _Order("row by row", (0, 2, 1, 3)),
    "columns": _Order("column by column", (0, 3, 1, 2)),
    "pixels": _Order("pixel by pixel", (0, 2, 3, 1)),
}


class ImageSequence(Strict):
    """An image that is shown as a sequence: at each of T time steps a row from top to bottom, a
    column from left to right, or a pixel, row after row. The values of a time step are channels
    without a place: those of the first channel of the image, then those of the next."""

    present: Part
    shape: tuple[Size, Size, Size]
    """C H W of the image."""

    @property
    def timesteps(self) -> int:
        """T: H, W, or H · W."""
        axes = _ORDERS[self.present].axes
        return prod(self.shape[axis - 1] for axis in axes[1 : axes.index(1)])

    @property
    def channels(self) -> int:
        """Values of a time step: C · W, C · H, or C."""
        return prod(self.shape) // self.timesteps

    @property
    def words(self) -> str:
        """ "row by row", "column by column" or "pixel by pixel"."""
        return _ORDERS[self.present].words

    def of_each_value(self, of_channels: Sequence[float]) -> list[float]:
        """What is said of each channel of the image, of each value of a time step."""
        repeats = self.channels // self.shape[0]
        return [value for value in of_channels for _ in range(repeats)]

    def sequence(self, x: Any) -> Any:
        """Images N C H W, an array or a tensor, as N T C' 1 1; what has other axes is a sequence
        already and comes back as it is. Raises ValueError for images of another shape."""
        if x.ndim != 4:
            return x
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f"the network takes images of {_times(self.shape)}, which it reads {self.words}, "
                f"and these are {_times(x.shape[1:])}"
            )
        turned = getattr(x, "permute", x.transpose)(_ORDERS[self.present].axes)
        return turned.reshape(len(x), self.timesteps, self.channels, 1, 1)


def image_sequence(present: Present, shape: Sequence[int]) -> ImageSequence | None:
    """The sequence that images of `shape`, C H W, are shown as; None where they are shown whole."""
    if present == "whole":
        return None
    channels, height, width = shape
    return ImageSequence(present=present, shape=(channels, height, width))


def _times(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
