"""Counts events into frames.

Shapes: T frames, 2 channels (0: became darker, 1: became brighter), H × W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from saf.data.events.recording import Array, Events, in_one_run, none_of
from saf.errors import DataError

BinBy = Literal["time", "count"]
TIMESTEPS = 10  # where nobody says T
MAX_SIDE = 128  # pixels to which frames are reduced where nobody says a size
_SOME = 10
"""Events that do not all happen at one time."""
USUAL_SENSORS = (
    (34, 34),
    (128, 128),
    (240, 180),
    (304, 240),
    (346, 260),
    (640, 480),
    (1280, 720),
)
"""(width, height) of sensors, the smallest first."""


class OutsideError(Exception):
    """An event lies outside of the sensor; (width, height) would hold it."""

    def __init__(self, needed: tuple[int, int]) -> None:
        super().__init__(needed)
        self.needed = needed


@dataclass(frozen=True)
class Binning:
    """How recordings become frames."""

    timesteps: int
    bin_by: BinBy
    sensor: tuple[int, int]
    """(width, height) in pixels."""
    size: tuple[int, int]
    """(width, height) of the frames."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """T 2 H W."""
        return self.timesteps, 2, self.size[1], self.size[0]

    def frames(self, events: Events, name: str) -> NDArray[np.int64]:
        """The counts `T 2 H W` of a recording. Raises DataError, and OutsideError."""
        if not len(events.t):
            raise none_of(name)
        if min(int(events.x.min()), int(events.y.min())) < 0:
            raise DataError(f"{name} holds events at negative pixels", hint="Send the original.")
        if self.bin_by == "time" and len(events.t) >= _SOME and events.t.min() == events.t.max():
            raise DataError(
                f"{name}: all {len(events.t):,} events have one time, {events.t[0]}",
                hint="Write the times again; or say bin_by: 'count', if the events are in order.",
            )
        needed = int(events.x.max()) + 1, int(events.y.max()) + 1
        if needed[0] > self.sensor[0] or needed[1] > self.sensor[1]:
            raise OutsideError(needed)
        events = events._replace(t=in_one_run(events.t, name))
        step = (
            by_time(events.t, self.timesteps) if self.bin_by == "time" else self._by_count(events)
        )
        (width, height), (sensor_width, sensor_height) = self.size, self.sensor
        column = events.x * width // sensor_width
        row = events.y * height // sensor_height
        place = ((step * 2 + events.p) * height + row) * width + column
        counts = np.bincount(place, minlength=self.timesteps * 2 * height * width)
        return counts.reshape(self.shape)

    def _by_count(self, events: Events) -> Array:
        order = np.argsort(events.t, kind="stable")
        step = np.empty(len(order), np.int64)
        step[order] = np.arange(len(order)) * self.timesteps // len(order)
        return step


def by_time(t: Array, steps: int) -> Array:
    """The frame of each event: equal parts of the time from the first to the last one."""
    first, last = t.min(), t.max()
    if t.dtype.kind == "f":
        share = (t - first) / max(float(last - first), np.finfo(np.float64).tiny)
        step: Array = np.minimum((share * steps).astype(np.int64), steps - 1)
    else:
        step = (t - first) * steps // (int(last - first) + 1)
    return step


def reduced(sensor: tuple[int, int]) -> tuple[int, int]:
    """The size of the frames of a sensor where nobody says one: it is divided by the smallest whole
    number that leaves no side longer than 128 pixels."""
    factor = -(-max(sensor) // MAX_SIDE)
    return -(-sensor[0] // factor), -(-sensor[1] // factor)
