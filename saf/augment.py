"""Random changes to training samples, a whole batch at a time on its device.

The random numbers are drawn on the CPU from one generator, so that the same batch is changed in
the same way on every device and after every resumption. All time steps of a sample are changed
alike.

Shapes: `N` samples, `T` steps, `C H W` channels, height, width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Generator, Tensor

CUTOUT_PROBABILITY = 0.5
CUTOUT_AREA = (0.02, 0.4)  # of the image
CUTOUT_RATIO = (0.4, 2.5)  # height to width


def augment(x: Tensor, changes: Sequence[str], generator: Generator) -> Tensor:
    """`x` (`N C H W` in [0, 1], or `N T C H W`) with `changes` applied: crop, cutout, flip.

    That is the published order; the order in which they are named does not matter. Raises
    ValueError for a change that does not exist.
    """
    unknown = set(changes) - set(CHANGES)
    if unknown:
        raise ValueError(f"there is no change {sorted(unknown)}; there are {list(CHANGES)}")
    for name, change in CHANGES.items():
        if name in changes:
            x = change(x, generator)
    return x


def crop(x: Tensor, generator: Generator) -> Tensor:
    """Shift each sample by up to an eighth of its side (at least one pixel), zeros moving in.

    At 32 × 32 pixels this is the random crop with a padding of 4.
    """
    *_, height, width = x.shape
    margin_h, margin_w = max(1, height // 8), max(1, width // 8)
    top = torch.randint(0, 2 * margin_h + 1, (len(x), 1), generator=generator)
    left = torch.randint(0, 2 * margin_w + 1, (len(x), 1), generator=generator)
    rows = (top + torch.arange(height)).to(x.device)  # N H
    columns = (left + torch.arange(width)).to(x.device)  # N W
    padded = F.pad(x, (margin_w, margin_w, margin_h, margin_h))
    inner = (1,) * (x.dim() - 3)  # C, or T C
    padded = padded.gather(
        -2, rows.view(-1, *inner, height, 1).expand(*x.shape[:-1], padded.shape[-1])
    )
    return padded.gather(-1, columns.view(-1, *inner, 1, width).expand(x.shape))


def cutout(x: Tensor, generator: Generator) -> Tensor:
    """Blank a rectangle in half of the samples: 2 % to 40 % of the area, of one random grey.

    Follows the transform that the code published with OTTT uses for CIFAR. Event frames are
    blanked with zeros, for no event is what a covered sensor sends.
    """
    samples, *_, height, width = x.shape

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(samples, generator=generator)

    chosen = uniform(0, 1) < CUTOUT_PROBABILITY
    area, ratio = uniform(*CUTOUT_AREA) * height * width, uniform(*CUTOUT_RATIO)
    h, w = (
        (area * ratio).sqrt().clamp(max=height).floor(),
        (area / ratio).sqrt().clamp(max=width).floor(),
    )
    top = (uniform(0, 1) * (height - h + 1)).floor()
    left = (uniform(0, 1) * (width - w + 1)).floor()
    grey = uniform(0, 1)

    row, column = torch.arange(height), torch.arange(width)
    rows = (row >= top[:, None]) & (row < (top + h)[:, None])  # N H
    columns = (column >= left[:, None]) & (column < (left + w)[:, None])  # N W
    covered = rows[:, :, None] & columns[:, None, :] & chosen[:, None, None]  # N H W
    inner = (1,) * (x.dim() - 3)
    covered = covered.to(x.device).view(samples, *inner, height, width)
    value = grey if x.dim() == 4 else torch.zeros(samples)
    return torch.where(covered, value.to(x).view(samples, *inner, 1, 1), x)


def flip(x: Tensor, generator: Generator) -> Tensor:
    """Mirror each sample left to right with probability one half."""
    mirrored = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(mirrored.to(x.device).view(-1, *(1,) * (x.dim() - 1)), x.flip(-1), x)


CHANGES: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "crop": crop,
    "cutout": cutout,
    "flip": flip,
}
