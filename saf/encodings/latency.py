"""The time of the first spike says the value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from saf.config.encodings import ENCODINGS, Encoding

if TYPE_CHECKING:
    from torch import Tensor


@ENCODINGS.add
class Latency(Encoding):
    """Time to first spike: one spike in each channel, the earlier the larger the value. A value is
    read every `window` time steps and speaks within them: at once at `deviations` above the mean,
    in the middle at the mean, not at all at `deviations` below it. Of an image of T ≤ `window`
    time steps there is one spike a pixel at most. Nothing is drawn."""

    label: ClassVar[str] = "latency (time to first spike)"
    place: ClassVar[int] = 35
    over_time: ClassVar[bool] = True

    name: Literal["latency"] = "latency"
    window: Annotated[int, Field(ge=2, le=1024)] = 8
    """Time steps within which a value speaks."""
    deviations: Annotated[float, Field(ge=0.1, le=100)] = 2.0
    """Standard deviations above the mean at which a spike comes at once."""

    def encoded(self, x: Tensor, memory: Tensor | None, first: int) -> tuple[Tensor, Tensor]:
        import torch

        share = (x / (2 * self.deviations) + 0.5).clamp(0, 1)
        spikes_at = ((1.0 - share) * self.window).floor()
        spikes = []
        for t, of_step in enumerate(spikes_at, first):
            phase = t % self.window
            if phase == 0 or memory is None:
                memory = of_step
            spikes.append((memory == phase).to(x))
        assert memory is not None
        return torch.stack(spikes), memory
