"""A random shift.

Shapes: `N` samples, `T` steps, `C H W` channels, height, width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from saf.config.augmentations import AUGMENTATIONS, Augmentation

if TYPE_CHECKING:
    from torch import Generator, Tensor


@AUGMENTATIONS.add
class Crop(Augmentation):
    """Crop with padding: a shift by up to an eighth of a side of 8 pixels or more."""

    label: ClassVar[str] = "Crop"
    place: ClassVar[int] = 10
    order: ClassVar[int] = 20

    name: Literal["crop"] = "crop"

    def changed(self, x: Tensor, generator: Generator) -> Tensor:
        return crop(x, generator)


def crop(x: Tensor, generator: Generator) -> Tensor:
    """Shift each sample by up to an eighth of its height and of its width, zeros moving in.

    At 32 × 32 pixels this is the random crop with a padding of 4. A side of fewer than 8 pixels is
    not shifted along, for one pixel would be a large part of it. A sample of which the shift would
    leave nothing but one value stays as it is.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812

    from saf.training.sampling import taken

    *_, height, width = x.shape
    margin_h, margin_w = height // 8, width // 8
    top = torch.randint(0, 2 * margin_h + 1, (len(x), 1), generator=generator)
    left = torch.randint(0, 2 * margin_w + 1, (len(x), 1), generator=generator)
    padded = F.pad(x, (margin_w, margin_w, margin_h, margin_h))
    padded = taken(padded, top + torch.arange(height), -2)
    shifted = taken(padded, left + torch.arange(width), -1)
    lost = _shows_something(x) & ~_shows_something(shifted)
    return torch.where(lost.view(-1, *(1,) * (x.dim() - 1)), x, shifted)


def _shows_something(x: Tensor) -> Tensor:
    """Whether the pixels of a sample differ, in any channel of any step: N."""
    import torch

    low, high = torch.aminmax(x.flatten(-2), dim=-1)
    return (low != high).flatten(1).any(1)
