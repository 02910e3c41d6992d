"""N-MNIST and N-Caltech101 as distributed: folders of `.bin` files with events of 40 bits."""

from __future__ import annotations

from typing import ClassVar, Literal

from saf.data.dataset import Dataset
from saf.data.events import saccades
from saf.data.events.event_format import EventFormat, files
from saf.data.events.folders import plan
from saf.data.events.recording import MOST_BYTES
from saf.data.formats.format import FORMATS, Recognised
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source


@FORMATS.add
class EventBin(EventFormat):
    """N-MNIST (`Train/<digit>/*.bin`, `Test/…`) or N-Caltech101 (`Caltech101/<class>/*.bin`):
    events of 40 bits, binned into frames."""

    label: ClassVar[str] = "N-MNIST or N-Caltech101 (.bin)"
    place: ClassVar[int] = 60
    specificity: ClassVar[int] = 30
    sensors: ClassVar[tuple[tuple[int, int], ...]] = ((34, 34), (240, 180), (304, 240))

    name: Literal["event-bin"] = "event-bin"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        names = _recordings(source)
        classes = {name.rsplit("/", 2)[-2] for name in names}
        if source.single or len(classes) < 2:
            return None
        sizes = {member.name: member.size for member in source.members}
        some = names[:: max(1, len(names) // 20)]
        fitting = [name for name in some if sizes[name] % saccades.EVENT_BYTES == 0]
        return Recognised() if len(fitting) * 2 > len(some) else None

    def read(self, source: Source, limits: Limits) -> Dataset:
        names = _recordings(source)
        return self.framed(
            source,
            files(source, saccades.decode, MOST_BYTES),
            plan(names, case=self.class_case, split=self.split),
        )


def _recordings(source: Source) -> list[str]:
    """The `.bin` files in folders, without N-Caltech101's outlines of the objects."""
    return [
        member.name
        for member in source.members
        if member.name.lower().endswith(".bin")
        and "/" in member.name
        and not any("annotation" in part.lower() for part in member.name.split("/"))
    ]
