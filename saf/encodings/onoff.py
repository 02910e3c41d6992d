"""Both signs of each channel as channels of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from saf.config.encodings import ENCODINGS, Encoding

if TYPE_CHECKING:
    from torch import Tensor


@ENCODINGS.add
class OnOff(Encoding):
    """Twice as many channels: what is above the mean, max(x, 0), then what is below it, max(−x, 0),
    as on and off cells of a retina. A layer learns weights for each."""

    label: ClassVar[str] = "on and off"
    place: ClassVar[int] = 20

    name: Literal["onoff"] = "onoff"

    def channels(self, channels: int) -> int:
        return 2 * channels

    def encoded(self, x: Tensor, memory: Tensor | None, first: int) -> tuple[Tensor, None]:
        import torch

        return torch.cat([x.clamp(min=0), (-x).clamp(min=0)], dim=2), None
