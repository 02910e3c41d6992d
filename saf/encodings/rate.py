"""Spikes whose rate says the value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from saf.config.encodings import ENCODINGS, Encoding

if TYPE_CHECKING:
    from torch import Tensor

GOLDEN = 0.6180339887498949  # of time steps …
PLASTIC = 0.7548776662466927  # … of channels and pixels …
SEEDS = 0.5698402909980532  # … and of seeds: irrational, so that thresholds cover [0, 1) evenly


@ENCODINGS.add
class Rate(Encoding):
    """A spike of 1 or nothing in each channel: with probability ½ at the mean, 1 at `deviations`
    above it and 0 as much below. What is compared with the probability is a number in [0, 1) that
    time step, place c (channel, or pixel of a channel) and `seed` determine, spread evenly over
    time: frac(0.618… t + 0.754… c + 0.569… seed). So training, check and use see the same
    spikes."""

    label: ClassVar[str] = "rate"
    place: ClassVar[int] = 30
    over_time: ClassVar[bool] = True

    name: Literal["rate"] = "rate"
    deviations: Annotated[float, Field(ge=0.1, le=100)] = 2.0
    """Standard deviations above the mean at which there is a spike at every time step."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Which thresholds."""

    def encoded(self, x: Tensor, memory: Tensor | None, first: int) -> tuple[Tensor, None]:
        import torch

        steps, places = len(x), x[0, 0].numel()
        t = torch.arange(first, first + steps, dtype=torch.float64)[:, None]
        c = torch.arange(places, dtype=torch.float64)
        thresholds = (GOLDEN * t + PLASTIC * c + SEEDS * self.seed) % 1.0
        thresholds = thresholds.view(steps, 1, *x.shape[2:]).to(x)
        return (x / (2 * self.deviations) + 0.5 > thresholds).to(x), None
