"""Pictures of series: curves of a few channels, or a map of time and channel of many.

Shapes: T time steps, C channels, H × W pixels of the picture. Transparent where nothing is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

HEIGHT, WIDTH = 64, 128
MOST_CURVES = 4
COLOURS = np.array([(47, 125, 225), (214, 104, 24), (36, 138, 86), (148, 74, 200)], np.uint8)
"""Of channels 0, 1, 2 and 3; a map is in the first."""


def series_pixels(
    x: Array, lowest: Array, highest: Array, steps: int | None = None
) -> NDArray[np.uint8]:
    """A sample `T C` as a picture `H W 4`; `lowest` and `highest` (C) are the ends of the scale.
    The picture is as wide as `steps` time steps (None: T), and empty behind the end of the
    sample."""
    span = np.where(highest > lowest, highest - lowest, 1.0)
    share = np.clip((x.astype(np.float64) - lowest) / span, 0.0, 1.0)  # T C
    width = max(1, round(WIDTH * len(x) / (steps or len(x))))
    drawn = _curves(share, width) if x.shape[1] <= MOST_CURVES else _map(share, width)
    pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    pixels[:, :width] = drawn
    return pixels


def meaning(channels: int) -> str:
    """What the colours of the picture mean, in words."""
    if channels > MOST_CURVES:
        return f"time from left to right, channels 0 to {channels - 1} from top to bottom"
    names = ("blue", "orange", "green", "violet")[:channels]
    of = ", ".join(f"{name}: channel {index}" for index, name in enumerate(names))
    return f"time from left to right; {of}"


def _curves(share: Array, width: int) -> NDArray[np.uint8]:
    """Each column spans what the curve does between it and the next one."""
    pixels = np.zeros((HEIGHT, width, 4), np.uint8)
    ends = np.linspace(0, len(share) - 1, width + 1)
    first, last = np.floor(ends[:-1]).astype(int), np.ceil(ends[1:]).astype(int)
    for channel in reversed(range(share.shape[1])):
        rows = np.round((1.0 - share[:, channel]) * (HEIGHT - 1)).astype(int)
        for column in range(width):
            part = rows[first[column] : last[column] + 1]
            pixels[part.min() : part.max() + 1, column] = (*COLOURS[channel], 255)
    return pixels


def _map(share: Array, width: int) -> NDArray[np.uint8]:
    steps, channels = share.shape
    columns = np.linspace(0, steps, width, endpoint=False).astype(int)
    rows = np.linspace(0, channels, HEIGHT, endpoint=False).astype(int)
    starts = np.unique(columns), np.unique(rows)
    # The largest of what falls together: a spike train would vanish in a mean.
    most = np.maximum.reduceat(share, starts[0], axis=0)
    most = np.maximum.reduceat(most, starts[1], axis=1)
    most = most[np.searchsorted(starts[0], columns)][:, np.searchsorted(starts[1], rows)]
    pixels = np.zeros((HEIGHT, width, 4), np.uint8)
    pixels[..., :3] = COLOURS[0]
    pixels[..., 3] = np.round(255 * most.T)
    pixels[pixels[..., 3] == 0] = 0
    return pixels
