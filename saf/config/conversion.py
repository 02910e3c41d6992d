"""Settings of the conversion: how a trained network becomes one of LIF neurons."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from saf.config.base import Strict
from saf.powers import MOST_GRID_BITS

MOST_WEIGHT_BITS = 8
MOST_CHECKED = 10_000
"""Held-out samples on which a conversion is checked, unless told."""


class Conversion(Strict):
    """How the trained network becomes one of LIF neurons."""

    weights: Literal["best", "last"] = "best"
    """Which weights are tested, converted and delivered: those of the epoch that was best on the
    validation samples, or the last ones. Both are in the checkpoint. Without validation samples
    there is no best epoch, and the last weights are taken."""

    grid_bits: Annotated[int, Field(ge=1, le=MOST_GRID_BITS)] | Literal["auto"] | None = None
    """k: round all weights to multiples of 2^−k, so that arithmetic is exact and the certificate
    can be `proven`; `auto` takes the largest k that can be proven at 0.3 points of accuracy or
    less, or at one sample of 20 or more; null: no rounding. Needs images, or samples in bytes,
    V = 1 and λ = 2^−n in every layer; n (T − 1) bits of the 24 of float32 (of the 53 of float64,
    with `precision` float64) go to the time steps."""

    weight_bits: Annotated[int, Field(ge=2, le=MOST_WEIGHT_BITS)] | None = None
    """Bits of a weight: each becomes an integer of so many bits times a power of two, after a short
    training of the quantised weights (`fine_tune_epochs`). They are on a grid, which follows from
    them, so `grid_bits` is null, and all that is said of it holds. null: as `grid_bits` says."""
    round_decays: bool = False
    """Deliver each λ that was learned (`plif`) as the nearest power of two, 1, 0.5, 0.25, …, which
    a grid needs. What that cost is told with the cost of the grid. Needs `grid_bits` or
    `weight_bits`."""
    weight_scale: Literal["layer", "channel"] = "channel"
    """What shares a power of two with `weight_bits`: the weights of a layer's map, or those of each
    of its outputs."""
    fine_tune_epochs: Annotated[int, Field(ge=0, le=1000)] = 3
    """Epochs in which quantised weights are trained further, by the method of the job. The best on
    the validation samples is delivered; 0: none, the weights are rounded."""

    samples: Annotated[int, Field(ge=1)] | None = None
    """At most so many of the test samples, spread evenly, are shown to the LIF network and compared
    in float32 with what was trained; in float64 a twentieth of them, at least 200 where there are
    as many. null: 10,000."""

    @field_validator("grid_bits", mode="before")
    @classmethod
    def _whole_number_or_auto(cls, value: Any) -> Any:
        if value is None or value == "auto":
            return value
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f'is a whole number from 1 to {MOST_GRID_BITS}, "auto" or null')
        if not 1 <= value <= MOST_GRID_BITS:
            raise ValueError(f"is {value}; give 1 to {MOST_GRID_BITS} bits")
        return value

    @field_validator("weight_bits")
    @classmethod
    def _choose_the_grid(cls, bits: int | None, info: ValidationInfo) -> int | None:
        if bits is not None and info.data.get("grid_bits") is not None:
            raise ValueError("chooses the grid itself: leave grid_bits out")
        return bits

    @field_validator("round_decays")
    @classmethod
    def _for_a_grid(cls, rounds: bool, info: ValidationInfo) -> bool:
        grids = (info.data.get("grid_bits"), info.data.get("weight_bits"))
        if rounds and grids == (None, None):
            raise ValueError("is for networks on a grid: set grid_bits or weight_bits too")
        return rounds

    @property
    def on_grid(self) -> str:
        """The setting by which the delivered network is on a grid; empty where it is on none."""
        if self.weight_bits is not None:
            return "weight_bits"
        return "" if self.grid_bits is None else "grid_bits"
