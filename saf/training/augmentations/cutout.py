"""A rectangle blanked.

Shapes: `N` samples, `T` steps, `C H W` channels, height, width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from saf.config.augmentations import AUGMENTATIONS, Augmentation

if TYPE_CHECKING:
    from torch import Generator, Tensor

CUTOUT_PROBABILITY = 0.5
CUTOUT_AREA = (0.02, 0.4)  # of the image
CUTOUT_RATIO = (0.4, 2.5)  # height to width


@AUGMENTATIONS.add
class Cutout(Augmentation):
    """A rectangle of half of the samples blanked: 2 % to 40 % of the area."""

    label: ClassVar[str] = "Cutout"
    place: ClassVar[int] = 30
    order: ClassVar[int] = 30

    name: Literal["cutout"] = "cutout"

    def changed(self, x: Tensor, generator: Generator) -> Tensor:
        return cutout(x, generator)


def cutout(x: Tensor, generator: Generator) -> Tensor:
    """Blank a rectangle in half of the samples: 2 % to 40 % of the area, of one random value.

    Follows `Cutout` of github.com/PistonY/torch-toolbox, which the code published with OTTT uses
    for CIFAR. There the value, one byte, is pasted into an image of Pillow, which takes an integer
    for a packed colour: it goes to the first channel, and the others become 0. Event frames are
    blanked with zeros, for no event is what a covered sensor sends.
    """
    import torch

    from saf.kernels.transfer import sent

    samples, *_, channels, height, width = x.shape

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
    value = (uniform(0, 1) * 256).floor() / 255

    row, column = torch.arange(height), torch.arange(width)
    rows = (row >= top[:, None]) & (row < (top + h)[:, None])  # N H
    columns = (column >= left[:, None]) & (column < (left + w)[:, None])  # N W
    covered = rows[:, :, None] & columns[:, None, :] & chosen[:, None, None]  # N H W
    inner = (1,) * (x.dim() - 3)
    covered = sent(covered, x.device).view(samples, *inner, height, width)
    colour = torch.zeros(samples, channels)
    if x.dim() == 4:
        colour[:, 0] = value
    colour = sent(colour, x.device).to(x.dtype)
    return torch.where(covered, colour.view(samples, *inner[1:], channels, 1, 1), x)
