"""Mirrored left to right.

Shapes: `N` samples, `T` steps, `C H W` channels, height, width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from saf.config.augmentations import AUGMENTATIONS, Augmentation

if TYPE_CHECKING:
    from torch import Generator, Tensor


@AUGMENTATIONS.add
class Flip(Augmentation):
    """Horizontal flip of one half of the samples."""

    label: ClassVar[str] = "Flip"
    place: ClassVar[int] = 20
    order: ClassVar[int] = 40

    name: Literal["flip"] = "flip"

    def changed(self, x: Tensor, generator: Generator) -> Tensor:
        return flip(x, generator)


def flip(x: Tensor, generator: Generator) -> Tensor:
    """Mirror each sample left to right with probability one half."""
    import torch

    from saf.kernels.transfer import sent

    mirrored = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(sent(mirrored, x.device).view(-1, *(1,) * (x.dim() - 1)), x.flip(-1), x)
