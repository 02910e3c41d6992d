"""Signals of motion sensors as text, as UCI HAR has them: a file for each channel and split.

Shapes: N samples, T time steps, C channels.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from typing import ClassVar, Literal

import numpy as np

from saf.data.arrays.assemble import ArrayFormat, assemble
from saf.data.arrays.names import Roles
from saf.data.arrays.stored.array import InMemory
from saf.data.dataset import Array, Dataset, Decision
from saf.data.formats.format import FORMATS, Recognised
from saf.data.sources.limits import MIB, Limits
from saf.data.sources.source import Source
from saf.data.sources.stream import Content
from saf.errors import DataError

_SIGNAL = re.compile(r"(?:.*/)?inertial[ _-]?signals/([^/]+)_(train|test)\.txt", re.IGNORECASE)
_LABELS = re.compile(r"(?:.*/)?y_(train|test)\.txt", re.IGNORECASE)
_FEATURES = re.compile(r"(?:.*/)?x_(train|test)\.txt", re.IGNORECASE)
_MAX_TEXT = 512 * MIB  # of a file
_HINT = "Send the files as they are distributed."


@FORMATS.add
class MotionSignals(ArrayFormat):
    """`train/Inertial Signals/body_acc_x_train.txt` and its like, a sample a line and a file a
    channel, with the classes in `y_train.txt`; the same of `test`, as UCI HAR is distributed."""

    label: ClassVar[str] = "Inertial Signals of UCI HAR"
    place: ClassVar[int] = 49
    specificity: ClassVar[int] = 55

    name: Literal["motion-signals"] = "motion-signals"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        if source.single:
            return None
        names = [member.name for member in source.members]
        if any(map(_SIGNAL.fullmatch, names)):
            return Recognised()
        if any(map(_FEATURES.fullmatch, names)) and any(map(_LABELS.fullmatch, names)):
            first = min(name for name in names if _FEATURES.fullmatch(name))
            raise DataError(
                f"{source.label} holds a line of numbers for each sample, {first}, and nothing "
                "says what they are in time",
                hint="Of UCI HAR send the folder Inertial Signals beside them: the numbers of "
                "X_train.txt are computed from those series. Else send arrays: numpy.savez("
                "'data.npz', x_train=…, y_train=…, x_test=…, y_test=…); series are N T C.",
            )
        return None

    def read(self, source: Source, limits: Limits) -> Dataset:
        signals, labels = _found(source)
        roles = Roles()
        channels = sorted(signals["train"])
        for split, files in signals.items():
            if sorted(files) != channels:
                odd = sorted(set(files) ^ set(channels))
                raise DataError(
                    f"{source.label} holds the signal {odd[0]} of one split alone", hint=_HINT
                )
            y = _numbers(source, labels[split])
            if y.shape[1] != 1 or not (y == np.rint(y)).all():
                raise DataError(
                    f"{labels[split]} holds no class number a line", hint=f"{_HINT} 1, 2, 3, …"
                )
            roles.samples[split] = InMemory(
                f"the signals for {split}ing", _stacked(source, files, channels, len(y))
            )
            roles.labels[split] = InMemory(labels[split], y[:, 0].astype(np.int64))
        told = [Decision("", f"channels: {', '.join(channels)}", "a file each, sorted by name")]
        others = [m.name for m in source.members if _FEATURES.fullmatch(m.name)]
        if others:
            why = "its numbers are computed from the signals, and are no series"
            told.append(Decision("", f"left out: {', '.join(sorted(others))}", why))
        return assemble(roles, self, source, layout="N T C", decisions=told)


def _found(source: Source) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """The files of signals by split and name, and those of labels by split. Raises DataError."""
    signals: dict[str, dict[str, str]] = defaultdict(dict)
    labels: dict[str, str] = {}
    for member in source.members:
        if match := _SIGNAL.fullmatch(member.name):
            twice = signals[match[2].lower()].setdefault(match[1], member.name)
        elif match := _LABELS.fullmatch(member.name):
            twice = labels.setdefault(match[1].lower(), member.name)
        else:
            continue
        if twice != member.name:
            raise DataError(f"{twice} and {member.name} are the same signal", hint=_HINT)
    if "train" not in signals:
        raise DataError(f"{source.label} holds no signals to train on", hint=_HINT)
    for split in signals:
        if split not in labels:
            raise DataError(
                f"{source.label} holds signals for {split}ing, and no y_{split}.txt", hint=_HINT
            )
    return dict(signals), labels


def _stacked(source: Source, files: dict[str, str], channels: list[str], count: int) -> Array:
    """N T C of the files of a split. Raises DataError where they do not fit together."""
    values: Array | None = None
    for channel, name in enumerate(channels):
        own = _numbers(source, files[name])
        if values is None:
            shape = (count, own.shape[1], len(channels))
            values = source.allocate(files[name], (*shape, 1, 1), np.float32).reshape(shape)
        if own.shape != values.shape[:2]:
            raise DataError(
                f"{files[name]} holds {own.shape[0]:,} lines of {own.shape[1]:,} numbers, and "
                f"{values.shape[0]:,} of {values.shape[1]:,} are expected: a line for each class "
                "number, and as many as in the other files",
                hint=_HINT,
            )
        values[:, :, channel] = own
    assert values is not None
    return values


def _numbers(source: Source, name: str) -> Array:
    """The numbers of a text, as many in each line, as float32. Raises DataError, which names the
    line."""
    rows: list[Array] = []
    with closing(source.contents([name])) as contents:
        for content in contents:
            for number, line in enumerate(_lines(content), 1):
                if not line.strip():
                    continue
                try:
                    with np.errstate(over="ignore"):
                        rows.append(np.array(line.split(), np.float32))
                except ValueError:
                    rows.append(np.full(1, np.nan, np.float32))
                if not np.isfinite(rows[-1]).all() or len(rows[-1]) != len(rows[0]):
                    raise DataError(
                        f"{name}, line {number}: {len(rows[0])} finite numbers, with spaces "
                        f"between them, are expected, and it is {line.strip()[:60]!r}",
                        hint=_HINT,
                    )
    if not rows:
        raise DataError(f"{name} is empty", hint=_HINT)
    return np.stack(rows)


def _lines(content: Content) -> Iterator[str]:
    return iter(content.read_whole(_MAX_TEXT).decode("utf-8", "replace").splitlines())
