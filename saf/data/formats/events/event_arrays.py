"""Recordings as numpy arrays, a file each: tonic's structured arrays, DVS Gesture's N × 4."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from saf.data.dataset import Dataset
from saf.data.events.event_format import EventFormat, files
from saf.data.events.folders import plan
from saf.data.events.members import array_of, header_of, is_npy
from saf.data.events.recording import (
    MOST_BYTES,
    Array,
    Events,
    none_of,
    since_first,
    unsigned,
)
from saf.data.formats.format import FORMATS, Recognised
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.errors import DataError

FIELDS = ("x", "y", "p", "t")
_ALSO = {
    "p": ("p", "pol", "polarity", "polarities", "on"),
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x", "xs"),
    "y": ("y", "ys"),
}
"""What fields are called."""
_TRIAL = re.compile(r"user\d+_\w+", re.IGNORECASE)


@FORMATS.add
class EventArrays(EventFormat):
    """`.npy` files in class folders, each with the events of one recording: structured arrays with
    the fields x, y, t, p (tonic), or N × 4 columns x, y, p, t (tonic's DVS Gesture,
    `ibmGestureTrain/user01_fluorescent/<class>.npy`), binned into frames."""

    label: ClassVar[str] = "tonic's arrays of events (.npy)"
    place: ClassVar[int] = 62
    specificity: ClassVar[int] = 65

    name: Literal["event-arrays"] = "event-arrays"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        names = _recordings(source)
        if source.single or not names:
            return None
        start = source.head(names[0], 4096)
        if not is_npy(start):
            return None
        shape, _, dtype, _ = header_of(start, names[0])
        columns = len(shape) == 2 and shape[1] == 4 and dtype.names is None
        is_many = len({name.rsplit("/", 1)[0] for name in names}) > 1
        is_events = len(_fields(dtype.names or ())) == len(FIELDS) or (columns and is_many)
        return Recognised() if is_events else None

    def read(self, source: Source, limits: Limits) -> Dataset:
        chosen = plan(_recordings(source), _class_of, case=self.class_case, split=self.split)
        return self.framed(source, files(source, _decode, MOST_BYTES), chosen)


def _recordings(source: Source) -> list[str]:
    return [m.name for m in source.members if m.name.lower().endswith(".npy") and "/" in m.name]


def _class_of(name: str) -> str | None:
    """Of DVS Gesture the file is named after the class, and the folder after who moved."""
    *_, folder, file = name.split("/")
    stem = file[: -len(".npy")]
    return stem if stem.isdigit() and _TRIAL.fullmatch(folder) else None


def _decode(data: bytes, name: str) -> Events:
    array = array_of(data, name)
    if array.dtype.names is not None:
        own = _fields(array.dtype.names)
        if missing := [field for field in FIELDS if field not in own]:
            raise DataError(
                f"{name} has no field {missing[0]!r}", hint="Events have the fields x, y, t, p."
            )
        parts = {field: array[own[field]].reshape(-1) for field in FIELDS}
    elif array.ndim == 2 and array.shape[1] == 4:
        parts = dict(zip(FIELDS, array.T, strict=True))
    else:
        raise DataError(
            f"{name} has the shape {array.shape}; structured arrays with x, y, t, p or N × 4 "
            "columns x, y, p, t are expected",
            hint="Bin other arrays into frames and send an .npz of N T C H W.",
        )
    return events_of(parts, name)


def _fields(names: Sequence[str]) -> dict[str, str]:
    """What each of x, y, p and t is called among the names of fields."""
    called = {name.lower(): name for name in names}
    found = {}
    for field, ways in _ALSO.items():
        if own := next((called[way] for way in ways if way in called), None):
            found[field] = own
    return found


def events_of(parts: dict[str, Array], name: str) -> Events:
    """Checked events of arrays x, y, p, t (N). Raises DataError."""
    if len({len(values) for values in parts.values()}) > 1:
        raise DataError(f"{name}: x, y, p and t differ in length", hint="Write the file again.")
    if not len(parts["t"]):
        raise none_of(name)
    try:
        x, y, p = (unsigned(parts[field]) for field in ("x", "y", "p"))
        t = since_first(parts["t"])
    except ValueError as error:
        raise DataError(f"{name} holds {error}", hint="Write the events again.") from None
    if p.min() == -1 and p.max() <= 1 and not (p == 0).any():
        p = (p + 1) // 2  # polarities of −1 and 1
    if p.min() < 0 or p.max() > 1:
        raise DataError(
            f"{name} holds the polarity {int(p[np.argmax((p < 0) | (p > 1))])}; 0 and 1 are "
            "expected (the columns are x, y, p, t)",
            hint="Put the columns into this order, or use structured arrays with named fields.",
        )
    return Events(x, y, p, t)
