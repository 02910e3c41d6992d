"""SpikingJelly's caches: an `.npz` a sample in class folders, with frames or with events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from saf.data.dataset import LARGEST_COUNT, Dataset, Decision
from saf.data.events.event_format import EventFormat, files
from saf.data.events.folders import plan
from saf.data.events.members import arrays_of, names_in
from saf.data.events.recording import MOST_BYTES, Array, Events
from saf.data.events.stack import Counts, file_by_file, stacked
from saf.data.formats.events.event_arrays import FIELDS, events_of
from saf.data.formats.format import FORMATS, Recognised
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.errors import DataError

KEY = "frames"
_LOOKED_AT = 3  # files, of which one may be damaged


@FORMATS.add
class FrameCache(EventFormat):
    """SpikingJelly's `frames_number_T_split_by_…/{train,test}/<class>/*.npz` with the array
    `frames` (T C H W), taken as they are; or its `events_np/…/*.npz` with x, y, t, p, binned into
    frames."""

    label: ClassVar[str] = "SpikingJelly's frames or events (.npz)"
    place: ClassVar[int] = 63
    specificity: ClassVar[int] = 45

    name: Literal["spikingjelly"] = "spikingjelly"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        names = _samples(source)
        if source.single or len({name.rsplit("/", 1)[0] for name in names}) < 2:
            return None
        for name in names[:_LOOKED_AT]:
            keys = names_in(source.head(name, MOST_BYTES))
            if KEY in keys or set(FIELDS) <= keys:
                return Recognised()
        return None

    @classmethod
    def claims(cls, name: str) -> bool:
        return name.lower().endswith(".npz") and "/" in name

    def read(self, source: Source, limits: Limits) -> Dataset:
        names = _samples(source)
        chosen = plan(names, case=self.class_case, split=self.split)
        name, arrays = _first(source, names)
        if KEY not in arrays:
            return self.framed(source, files(source, _events, MOST_BYTES), chosen)
        frames = _checked(arrays[KEY], name)
        shape = frames.shape
        self._refuse_binning(shape)
        told = (
            Decision("timesteps", str(shape[0]), "the frames in the files, taken as they are"),
            Decision("", "polarity", "channels as in the files"),
        )
        return stacked(
            source,
            file_by_file(source, _frames, MOST_BYTES),
            chosen,
            shape,
            skip=self.on_damaged == "skip",
            decisions=told,
            dtype=np.uint8 if frames.dtype.itemsize == 1 else np.float32,
        )

    def _refuse_binning(self, shape: tuple[int, ...]) -> None:
        asked = [name for name in ("timesteps", "bin_by", "size", "sensor") if getattr(self, name)]
        if (asked and asked != ["timesteps"]) or self.timesteps not in (None, shape[0]):
            raise DataError(
                f"the files hold {shape[0]} frames each, which are taken as they are; "
                f"{', '.join(asked)} is for recordings of events",
                hint="Leave these settings out, or send the events.",
            )


def _samples(source: Source) -> list[str]:
    return [m.name for m in source.members if FrameCache.claims(m.name)]


def _first(source: Source, names: Sequence[str]) -> tuple[str, dict[str, Array]]:
    """The first of the files that can be read, by its name."""
    refused: DataError | None = None
    for name in names[:_LOOKED_AT]:
        try:
            return name, arrays_of(source.head(name, MOST_BYTES), name)
        except DataError as error:
            refused = refused or error
    assert refused is not None
    raise refused


def _frames(data: bytes, name: str) -> Counts:
    arrays = arrays_of(data, name)
    if KEY not in arrays:
        raise DataError(
            f"{name} holds {', '.join(sorted(arrays)[:5]) or 'nothing'} and no {KEY!r}",
            hint="Send files of one kind.",
        )
    return _checked(arrays[KEY], name)


def _checked(frames: Array, name: str) -> Counts:
    if frames.ndim != 4 or frames.dtype.kind not in "biuf" or 0 in frames.shape:
        raise DataError(
            f"{name}: frames of shape {frames.shape} and type {frames.dtype}; counts T C H W are "
            "expected",
            hint="Write the cache again.",
        )
    lowest, highest = float(frames.min()), float(frames.max())
    if not 0 <= lowest <= highest <= LARGEST_COUNT:
        raise DataError(
            f"{name} holds counts from {lowest:g} to {highest:g}", hint="Counts are at least 0."
        )
    return frames


def _events(data: bytes, name: str) -> Events:
    arrays = arrays_of(data, name)
    if missing := [field for field in FIELDS if field not in arrays]:
        raise DataError(f"{name} has no array {missing[0]!r}", hint="Events are x, y, t and p.")
    return events_of({field: arrays[field].reshape(-1) for field in FIELDS}, name)
