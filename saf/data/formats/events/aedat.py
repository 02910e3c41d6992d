"""DVS128 Gesture and CIFAR10-DVS as distributed: recordings in `.aedat` files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import ClassVar, Literal, NamedTuple

from saf.data.dataset import Dataset, Decision
from saf.data.events import aedat
from saf.data.events.event_format import EventFormat, Recordings, files
from saf.data.events.folders import Plan, plan, planned
from saf.data.events.recording import MOST_BYTES, Events
from saf.data.formats.format import FORMATS, Recognised
from saf.data.sources.limits import MIB, Limits
from saf.data.sources.source import Source
from saf.data.sources.stream import Content
from saf.errors import DataError

_LABELS = "_labels.csv"
_LISTS = {"trials_to_train.txt": "train", "trials_to_test.txt": "test"}
GESTURES = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter clockwise",
    "left arm clockwise",
    "left arm counter clockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
)
"""Of DVS128 Gesture, labels 1 to 11."""


class _Part(NamedTuple):
    """A gesture of a recording."""

    label: int
    start: int  # µs
    stop: int


@FORMATS.add
class Aedat(EventFormat):
    """DVS128 Gesture (`*.aedat`, `*_labels.csv`, `trials_to_train.txt`, `trials_to_test.txt`) or
    CIFAR10-DVS (`<class>/*.aedat`), AEDAT 2.0 and 3.1, binned into frames."""

    label: ClassVar[str] = "DVS128 Gesture or CIFAR10-DVS (.aedat)"
    place: ClassVar[int] = 61
    specificity: ClassVar[int] = 55
    sensors: ClassVar[tuple[tuple[int, int], ...]] = ((128, 128), (240, 180), (346, 260))

    name: Literal["aedat"] = "aedat"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        names = [member.name.lower() for member in source.members]
        if any(name.endswith(".aedat4") for name in names):
            raise DataError(
                f"{source.label} holds .aedat4 files; AEDAT 2.0 and 3.1 are read",
                hint="Bin the recordings into frames (tonic.transforms.ToFrame) and send an .npz "
                "with x_train, y_train, x_test, y_test of shape N T C H W.",
            )
        recordings = [name for name in names if name.endswith(".aedat")]
        if source.single and recordings:
            raise DataError(
                f"{source.label} is a single recording", hint="Send an archive of all of them."
            )
        return Recognised() if recordings else None

    def read(self, source: Source, limits: Limits) -> Dataset:
        names = [m.name for m in source.members if m.name.lower().endswith(".aedat")]
        tables = [m.name for m in source.members if m.name.lower().endswith(_LABELS)]
        if not tables:
            return self.framed(
                source,
                files(source, aedat.decode, MOST_BYTES),
                plan(names, case=self.class_case, split=self.split),
            )
        if self.split or self.class_case:
            raise DataError(
                f"{source.label} says which trials are for testing, and what the gestures are, "
                "itself",
                hint="Leave split and class_case out.",
            )
        gestures = _gestures(source, names, tables)
        told = Decision("", "gestures", "cut from the recordings as their _labels.csv say")
        return self.framed(
            source, _cut(source, gestures), _plan(source, gestures), decisions=(told,)
        )


def _gestures(source: Source, names: list[str], tables: list[str]) -> dict[str, list[_Part]]:
    """The gestures of each recording by its name. Raises DataError where one has no table."""
    found: dict[str, list[_Part]] = {}
    by_stem = {name[: -len(".aedat")].lower(): name for name in names}
    for content in source.contents(tables):
        recording = by_stem.get(content.name[: -len(_LABELS)].lower())
        if recording is not None:
            found[recording] = _table(content)
    if lacking := [name for name in names if name not in found]:
        listed = ", ".join(lacking[:5]) + (", …" if len(lacking) > 5 else "")
        raise DataError(
            f"{len(lacking)} of {len(names)} recordings have no {_LABELS} beside them: {listed}",
            hint=f"Send {lacking[0][: -len('.aedat')]}{_LABELS}, too, or leave the recording out.",
        )
    return found


def _table(content: Content) -> list[_Part]:
    text = content.read_whole(MIB).decode("utf-8", "replace")
    parts = []
    for number, row in enumerate(csv.reader(text.splitlines()), start=1):
        if not row or (number == 1 and not row[0].strip().isdigit()):
            continue
        try:
            label, start, stop = (int(value) for value in row[:3])
        except ValueError:
            raise DataError(
                f"{content.name}, line {number}: class, start and end in µs are expected",
                hint="Send the files as they are distributed.",
            ) from None
        parts.append(_Part(label, start, stop))
    return parts


def _plan(source: Source, gestures: dict[str, list[_Part]]) -> Plan:
    lists = {
        member.name: split
        for member in source.members
        for ending, split in _LISTS.items()
        if member.name.rsplit("/", 1)[-1].lower() == ending
    }
    if sorted(lists.values()) != ["test", "train"]:
        raise DataError(
            f"{source.label} holds *{_LABELS} files, and not one each of {' and '.join(_LISTS)}",
            hint="Send DVS128 Gesture as it is distributed.",
        )
    split_of: dict[str, str] = {}
    for content in source.contents(list(lists)):
        for line in content.read_whole(MIB).decode("utf-8", "replace").split():
            split_of[line.lower()] = lists[content.name]
    found: dict[str, tuple[str, str]] = {}
    for name, parts in gestures.items():
        split = split_of.get(name.rsplit("/", 1)[-1].lower())
        if split is None:
            continue  # in no list, as some trials of the distribution are
        for index, part in enumerate(parts):
            is_known = 1 <= part.label <= len(GESTURES)
            label = GESTURES[part.label - 1] if is_known else str(part.label)
            found[f"{name}#{index}"] = split, label
    if not found:
        raise DataError(
            f"none of the recordings in {source.label} is in {' or '.join(_LISTS)}",
            hint="Send DVS128 Gesture as it is distributed.",
        )
    told = Decision("split", "trials_to_train.txt", "training and test trials as published")
    return planned(found, [told])


def _cut(source: Source, gestures: dict[str, list[_Part]]) -> Recordings:
    def read(names: Collection[str]) -> Iterator[tuple[str, Callable[[], Events]]]:
        wanted = set(names)
        for content in source.contents([*{name.rsplit("#", 1)[0] for name in names}]):
            name = content.name
            try:
                whole: Events | DataError = aedat.decode(content.read_whole(MOST_BYTES), name)
            except DataError as error:
                whole = error
            for index, part in enumerate(gestures[name]):
                if f"{name}#{index}" in wanted:
                    yield f"{name}#{index}", partial(_within, whole, part)

    return read


def _within(whole: Events | DataError, part: _Part) -> Events:
    if isinstance(whole, DataError):
        raise whole
    return whole.within(part.start, part.stop)
