"""A picture of a few samples as a candidate would have them read."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from saf.data.dataset import Array

SHOWN = 8
"""Samples that are looked at."""
_STEPS = 8
_SIDE = 64


def picture(samples: Array) -> bytes | None:
    """A PNG of samples `N C H W`, `N T C H W` or `N T C` with values in [0, 1]; of time steps the
    first ones in columns. None where Pillow is not installed."""
    try:
        from PIL import Image
    except ModuleNotFoundError:
        return None
    if samples.ndim == 3:  # time from left to right, channels below one another
        tiles = [[_tile(sample.T[np.newaxis])] for sample in samples[:4]]
    elif samples.ndim == 5:
        tiles = [[_tile(frame) for frame in sample[:_STEPS]] for sample in samples[:4]]
    else:
        tiles = [[_tile(sample) for sample in samples]]
    rows = [np.concatenate(row, axis=1) for row in tiles]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(rows, axis=0)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _tile(image: Array) -> NDArray[np.uint8]:
    """An image `C H W`, with a line to its right and below."""
    channels = image[:3] if len(image) >= 3 else image[:1].repeat(3, axis=0)
    step = [max(1, -(-side // (4 * _SIDE))) for side in channels.shape[1:]]
    channels = channels[:, :: step[0], :: step[1]]
    times = max(1, _SIDE // max(channels.shape[1:]))
    large = channels.repeat(times, axis=1).repeat(times, axis=2)
    pixels = (np.clip(large, 0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)
    return np.pad(pixels, ((0, 2), (0, 2), (0, 0)), constant_values=128)
