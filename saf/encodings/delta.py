"""Changes alone: levels that a value crosses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from saf.config.encodings import ENCODINGS, Encoding

if TYPE_CHECKING:
    from torch import Tensor


@ENCODINGS.add
class Delta(Encoding):
    """Delta modulation: twice as many channels, that count the levels that a value has crossed
    upwards and downwards since the time step before. Levels are `step` standard deviations apart;
    the first value counts from the mean."""

    label: ClassVar[str] = "delta modulation"
    place: ClassVar[int] = 40
    in_time: ClassVar[bool] = True

    name: Literal["delta"] = "delta"
    step: Annotated[float, Field(ge=0.001, le=100)] = 0.25
    """Distance of the levels, in standard deviations of the channel."""

    def channels(self, channels: int) -> int:
        return 2 * channels

    def encoded(self, x: Tensor, memory: Tensor | None, first: int) -> tuple[Tensor, Tensor]:
        import torch

        levels = torch.trunc(x / self.step)
        before = torch.zeros_like(levels[0]) if memory is None else memory
        crossed = levels - torch.cat([before[None], levels[:-1]])
        return torch.cat([crossed.clamp(min=0), (-crossed).clamp(min=0)], dim=2), levels[-1]
