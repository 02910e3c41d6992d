"""Prophesee's recordings in class folders, such as N-CARS."""

from __future__ import annotations

from typing import ClassVar, Literal

from saf.data.dataset import Dataset
from saf.data.events import prophesee
from saf.data.events.event_format import EventFormat, files
from saf.data.events.folders import plan
from saf.data.events.recording import MOST_BYTES, Events
from saf.data.formats.format import FORMATS, Recognised
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.errors import DataError

_DAT, _RAW = ".dat", ".raw"


@FORMATS.add
class Prophesee(EventFormat):
    """Prophesee's `.dat` (CD events) or `.raw` (EVT 2.0, EVT 3.0) files in class folders, such as
    N-CARS, binned into frames."""

    label: ClassVar[str] = "Prophesee's recordings (.dat, .raw)"
    place: ClassVar[int] = 64
    specificity: ClassVar[int] = 55

    name: Literal["prophesee"] = "prophesee"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        names = _recordings(source)
        if not names or source.head(names[0], 1) != b"%":
            return None
        if source.single:
            raise DataError(
                f"{source.label} is a single recording", hint="Send an archive of all of them."
            )
        return Recognised()

    def read(self, source: Source, limits: Limits) -> Dataset:
        names = _recordings(source)
        sensor = prophesee.sensor_of(source.head(names[0], prophesee.MOST_HEADER), names[0])
        return self.framed(
            source,
            files(source, _events, MOST_BYTES),
            plan(names, case=self.class_case, split=self.split),
            sensor=sensor,
        )


def _recordings(source: Source) -> list[str]:
    return [m.name for m in source.members if m.name.lower().endswith((_DAT, _RAW))]


def _decode(data: bytes, name: str) -> tuple[Events, tuple[int, int] | None]:
    is_dat = name.lower().endswith(_DAT)
    return prophesee.decode_dat(data, name) if is_dat else prophesee.decode_raw(data, name)


def _events(data: bytes, name: str) -> Events:
    return _decode(data, name)[0]
