"""What formats of recordings have in common: their settings, and the choice of the sensor."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Annotated, ClassVar

from pydantic import Field

from saf.data.dataset import MAX_TIMESTEPS, Dataset, Decision
from saf.data.events.binning import (
    TIMESTEPS,
    USUAL_SENSORS,
    BinBy,
    Binning,
    OutsideError,
    reduced,
)
from saf.data.events.folders import Plan
from saf.data.events.recording import Events
from saf.data.events.stack import Counts, Load, Read, stacked
from saf.data.formats.format import Format
from saf.data.formats.settings import OnDamaged, Size, Split, sides_of
from saf.data.formats.spelling import ClassCase
from saf.data.sources.source import Source
from saf.data.sources.stream import Content
from saf.errors import DataError

Recordings = Callable[[Collection[str]], Iterator[tuple[str, Callable[[], Events]]]]
"""The recordings of these names, in any order; decoding one raises DataError."""
Timesteps = Annotated[
    int | None, Field(ge=1, le=MAX_TIMESTEPS, description="frames of a sample, T")
]
BinByChoice = Annotated[BinBy | None, Field(description="default: time")]
Sensor = Annotated[Size, Field(description="'346x260', width × height of the camera")]


class EventFormat(Format):
    """Recordings that are binned into frames `T 2 H W` of counts: channel 0 of events that became
    darker, channel 1 of those that became brighter.

    Unless the settings say otherwise, T is 10 and the frames are equal parts of the time of each
    recording (`bin_by: "count"`: equal numbers of events). The sensor is the smallest usual one
    that holds all events; frames of more than 128 pixels a side are reduced by a whole number.
    """

    sensors: ClassVar[tuple[tuple[int, int], ...]] = USUAL_SENSORS
    """(width, height) that are tried, the smallest first."""

    timesteps: Timesteps = None
    bin_by: BinByChoice = None
    size: Size = None
    sensor: Sensor = None
    on_damaged: OnDamaged = None
    class_case: ClassCase = None
    split: Split = None

    def framed(
        self,
        source: Source,
        recordings: Recordings,
        plan: Plan,
        *,
        sensor: tuple[int, int] | None = None,
        decisions: tuple[Decision, ...] = (),
    ) -> Dataset:
        """The data set of all recordings of a plan. `sensor` is (width, height) where the files say
        it. Raises DataError."""
        asked = sides_of(self.sensor) if self.sensor is not None else None
        tried: tuple[tuple[int, int], ...] = (asked,) if asked is not None else self.sensors
        if asked is None and sensor is not None:  # recordings may differ: larger ones are tried
            tried = (sensor, *(each for each in tried if each[0] * each[1] > sensor[0] * sensor[1]))
        needed = (0, 0)
        for each in tried:
            if needed[0] > each[0] or needed[1] > each[1]:
                continue
            binning = self._binning(each)
            try:
                return stacked(
                    source,
                    _binned(recordings, binning),
                    plan,
                    binning.shape,
                    skip=self.on_damaged == "skip",
                    decisions=(*self._told(binning, each in (asked, sensor)), *decisions),
                )
            except OutsideError as outside:
                needed = outside.needed
        width, height = tried[-1]
        raise DataError(
            f"{source.label} holds an event at column {needed[0] - 1}, row {needed[1] - 1}, and "
            f"the sensor has {width} × {height} pixels",
            hint="Say width and height of the sensor, such as sensor: '640x480'.",
        )

    def _binning(self, sensor: tuple[int, int]) -> Binning:
        size = sides_of(self.size) if self.size is not None else reduced(sensor)
        if size[0] > sensor[0] or size[1] > sensor[1]:
            raise DataError(
                f"frames of {size[0]} × {size[1]} are larger than the sensor, "
                f"{sensor[0]} × {sensor[1]}",
                hint="Say a smaller size, or width and height of the sensor.",
            )
        return Binning(self.timesteps or TIMESTEPS, self.bin_by or "time", sensor, size)

    def _told(self, binning: Binning, is_known: bool) -> tuple[Decision, ...]:
        steps, size, sensor = binning.timesteps, binning.size, binning.sensor
        parts = (
            "of equal duration, from the first event of a recording to its last"
            if binning.bin_by == "time"
            else "of equally many events"
        )
        return (
            Decision(
                "timesteps",
                str(steps),
                "as was asked" if self.timesteps else f"{steps} where nothing else is said",
            ),
            Decision("bin_by", binning.bin_by, f"each recording is cut into {steps} parts {parts}"),
            Decision("", "polarity", "channel 0: became darker, channel 1: became brighter"),
            Decision(
                "sensor",
                f"{sensor[0]}x{sensor[1]}",
                "as is said" if is_known else "the smallest usual sensor that holds all events",
            ),
            Decision(
                "size",
                f"{size[0]}x{size[1]}",
                "one pixel of a frame for each of the sensor"
                if size == sensor
                else "events of several pixels are counted together",
            ),
        )


def _binned(recordings: Recordings, binning: Binning) -> Read:
    def read(names: Collection[str]) -> Iterator[tuple[str, Load]]:
        for name, load in recordings(names):
            yield name, partial(_counts, name, load, binning)

    return read


def _counts(name: str, load: Callable[[], Events], binning: Binning) -> Counts:
    return binning.frames(load(), name)


def files(source: Source, decode: Callable[[bytes, str], Events], most: int) -> Recordings:
    """Recordings that are a file each of at most `most` bytes."""

    def read(names: Collection[str]) -> Iterator[tuple[str, Callable[[], Events]]]:
        for content in source.contents(names):
            yield content.name, partial(_decoded, content, decode, most)

    return read


def _decoded(content: Content, decode: Callable[[bytes, str], Events], most: int) -> Events:
    return decode(content.read_whole(most), content.name)
