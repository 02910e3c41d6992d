"""Series as the archives of time series classification (UEA and UCR) have them: `.ts` files.

The format is that of aeon and sktime: lines of `#` or `%` are comments, lines of `@` a header that
ends with `@data`, and then a line is a sample: its channels between colons, the values of each
between commas, the class last.

Shapes: N samples, T time steps, C channels.
"""

from __future__ import annotations

import io
import re
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from saf.data.arrays.assemble import ArrayFormat, assemble
from saf.data.arrays.names import Roles, split_of
from saf.data.arrays.stored.array import InMemory
from saf.data.dataset import Dataset
from saf.data.formats.format import FORMATS, Recognised
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.errors import DataError

_HEAD = 2**16
_MAX_LINE = 2**26
_MARK = re.compile(
    rb"^@(problemname|timestamps|univariate|classlabel|data)\b", re.IGNORECASE | re.MULTILINE
)
_MISSING = ("?", "nan")


@FORMATS.add
class TimeSeriesFiles(ArrayFormat):
    """`NAME_TRAIN.ts` and `NAME_TEST.ts`, as the archives of time series classification have them,
    or one `.ts`. Series of different lengths are padded, and their lengths kept."""

    label: ClassVar[str] = "NAME_TRAIN.ts and NAME_TEST.ts of time series"
    place: ClassVar[int] = 48
    specificity: ClassVar[int] = 60
    packed: ClassVar[bool] = False

    name: Literal["ts"] = "ts"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        return Recognised() if _files(source) else None

    def read(self, source: Source, limits: Limits) -> Dataset:
        surveys: dict[str, _Survey] = {}
        for name in _files(source):
            split = split_of(name)
            if split in surveys:
                raise DataError(
                    f"{surveys[split].name} and {name} are both of the split {split!r}",
                    hint="Send the files of one data set: NAME_TRAIN.ts and NAME_TEST.ts.",
                )
            surveys[split] = _survey(source, name)
        first = next(iter(surveys.values()))
        for other in surveys.values():
            if other.channels != first.channels:
                raise DataError(
                    f"{first.name} has {first.channels} channels and {other.name} {other.channels}",
                    hint="Give all samples of all splits the same channels.",
                )
        steps = max(max(survey.lengths) for survey in surveys.values())
        uneven = any(min(survey.lengths) < steps for survey in surveys.values())
        roles = Roles()
        for split, survey in surveys.items():
            roles.samples[split] = InMemory(survey.name, _values(source, survey, steps))
            roles.labels[split] = InMemory(f"the classes of {survey.name}", survey.labels_array())
            if uneven:
                lengths = np.array(survey.lengths, np.int64)
                roles.lengths[split] = InMemory(f"the lengths in {survey.name}", lengths)
        return assemble(roles, self, source, layout="N T C")


@dataclass
class _Survey:
    """What a file holds, but for its values."""

    name: str
    channels: int = 0
    lengths: list[int] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)

    def labels_array(self) -> NDArray[np.str_]:
        return np.array(self.labels)


def _files(source: Source) -> list[str]:
    names = [source.label] if source.single else [member.name for member in source.members]
    return [
        name
        for name in names
        if name.lower().endswith(".ts") and _MARK.search(source.head(name, _HEAD))
    ]


def _survey(source: Source, name: str) -> _Survey:
    """Go through a file once. Raises DataError, which names the line."""
    found = _Survey(name)
    for number, channels, label in _samples(source, name):
        if not found.channels:
            found.channels = len(channels)
        if len(channels) != found.channels:
            raise DataError(
                f"{name}, line {number}: {len(channels)} channels, and the first sample has "
                f"{found.channels}",
                hint="Give all samples the same channels, between colons, and the class last.",
            )
        lengths = {channel.count(",") + 1 for channel in channels}
        if len(lengths) > 1:
            raise DataError(
                f"{name}, line {number}: channels of {min(lengths)} to {max(lengths)} values",
                hint="Give all channels of a sample the same number of time steps.",
            )
        found.lengths.append(lengths.pop())
        found.labels.append(label)
    if not found.lengths:
        raise DataError(f"{name} holds no samples", hint="A line for each follows the line @data.")
    return found


def _values(source: Source, survey: _Survey, steps: int) -> NDArray[np.float32]:
    """Go through a file again, for its values: N T C, padded by zeros."""
    shape = (len(survey.lengths), steps, survey.channels)
    values = source.allocate(survey.name, (*shape, 1, 1), np.float32).reshape(shape)
    for row, (number, channels, _) in enumerate(_samples(source, survey.name)):
        for channel, text in enumerate(channels):
            try:
                with np.errstate(over="ignore"):  # infinite, refused as such
                    own = np.array(text.split(","), np.float32)
            except ValueError:
                raise _no_number(survey.name, number, text) from None
            if not np.isfinite(own).all():
                raise _no_number(survey.name, number, text)
            values[row, : len(own), channel] = own
    return values


def _no_number(name: str, number: int, text: str) -> DataError:
    for value in text.split(","):
        if value.strip().lower() in _MISSING:
            return DataError(
                f"{name}, line {number}: a value is missing ({value.strip()})",
                hint="Fill in missing values, by interpolation say, or leave such samples out.",
            )
        try:
            if abs(float(value)) <= float(np.finfo(np.float32).max):
                continue
        except ValueError:
            pass
        return DataError(
            f"{name}, line {number}: {value.strip()[:40]!r} is no finite number",
            hint="Values stand between commas, channels between colons, the class is last.",
        )
    raise AssertionError("one of the values is no number")


def _samples(source: Source, name: str) -> Iterator[tuple[int, list[str], str]]:
    """The number of the line, the channels as text, and the class of each sample."""
    has_data = False
    with closing(_lines(source, name)) as lines:
        for number, line in lines:
            if not line or (not has_data and line.startswith(("#", "%"))):
                continue
            if has_data:
                *channels, label = line.split(":")
                if not channels or not label.strip():
                    raise DataError(
                        f"{name}, line {number}: no class at its end",
                        hint="Each line ends with a colon and the class of the sample.",
                    )
                yield number, channels, label.strip()
                continue
            key, _, value = line.partition(" ")
            if key.lower() == "@data":
                has_data = True
            elif key.startswith("@"):
                _check_header(name, key.lower(), value.strip().lower())
            else:
                raise DataError(
                    f"{name}, line {number}: neither a comment nor a header",
                    hint="Lines of @ come first, the samples follow the line @data.",
                )


def _check_header(name: str, key: str, value: str) -> None:
    if key == "@timestamps" and value == "true":
        raise DataError(
            f"{name} has a time with each value (@timestamps true), and only evenly spaced "
            "values are read",
            hint="Sample the series evenly, and write @timeStamps false.",
        )
    if key == "@targetlabel" or (key == "@classlabel" and value.split()[:1] == ["false"]):
        raise DataError(
            f"{name} has no classes: it is for regression or clustering",
            hint="Send data for classification, with @classLabel true and the names of classes.",
        )


def _lines(source: Source, name: str) -> Generator[tuple[int, str], None, None]:
    for content in source.contents([name]):
        with io.TextIOWrapper(io.BufferedReader(content), "utf-8", errors="replace") as text:
            number = 0
            while line := text.readline(_MAX_LINE):
                number += 1
                if len(line) == _MAX_LINE:
                    raise DataError(
                        f"{name}, line {number} is longer than {_MAX_LINE} characters",
                        hint="Put each sample on a line of its own.",
                    )
                yield number, line.strip().lstrip("\ufeff")
