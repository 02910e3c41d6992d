"""A random box, scaled to the whole.

Shapes: `N` samples, `T` steps, `C H W` channels, height, width.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, ClassVar, Literal

from saf.config.augmentations import AUGMENTATIONS, Augmentation

if TYPE_CHECKING:
    from torch import Generator, Tensor

RESIZED_AREA = (0.08, 1.0)  # of the image
RESIZED_RATIO = (3 / 4, 4 / 3)  # width to height
RESIZED_TRIES = 10


@AUGMENTATIONS.add
class ResizedCrop(Augmentation):
    """A crop of 8 % to 100 % of the area resized (on ImageNet: with flip)."""

    label: ClassVar[str] = "Resized crop"
    place: ClassVar[int] = 40
    order: ClassVar[int] = 10

    name: Literal["resized_crop"] = "resized_crop"

    def changed(self, x: Tensor, generator: Generator) -> Tensor:
        return resized_crop(x, generator)


def resized_crop(x: Tensor, generator: Generator) -> Tensor:
    """Cut a box of 8 % to 100 % of the area, its sides in a ratio of 3:4 to 4:3, out of each sample
    and scale it bilinearly to the size of the whole.

    As `RandomResizedCrop` of torchvision, which the published code uses for ImageNet: ten boxes are
    tried, and where none fits, the sample stays as it is.
    """
    import torch

    from saf.training.sampling import stretched

    samples, *_, height, width = x.shape
    tries = (samples, RESIZED_TRIES)
    low, high = RESIZED_AREA
    area = (low + (high - low) * torch.rand(tries, generator=generator)) * height * width
    low, high = log(RESIZED_RATIO[0]), log(RESIZED_RATIO[1])
    ratio = (low + (high - low) * torch.rand(tries, generator=generator)).exp()
    w, h = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (w >= 1) & (w <= width) & (h >= 1) & (h <= height)
    first, none = fits.int().argmax(1, keepdim=True), ~fits.any(1)
    h = torch.where(none, height, h.gather(1, first)[:, 0])
    w = torch.where(none, width, w.gather(1, first)[:, 0])
    top = (torch.rand(samples, generator=generator) * (height - h + 1)).floor()
    left = (torch.rand(samples, generator=generator) * (width - w + 1)).floor()
    return stretched(stretched(x, top, h, -2), left, w, -1)
