"""Splits that records say of themselves: columns of Parquet, keys of the .json of a WebDataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from saf.data.arrays.names import ALL
from saf.data.dataset import Array, Decision
from saf.data.formats.format import Candidate, NeedsChoiceError, Question
from saf.data.images.tables.lists import Published, of_columns
from saf.data.images.tables.table import Table
from saf.data.images.words import Role
from saf.errors import DataError

FILES, HOLDOUT = "files", "holdout"


def published(label: str, records: Mapping[str, Mapping[str, Any]], what: str) -> list[Published]:
    """The splits that records say, each by name its values under the headings that say one. `what`
    is what a heading is called in words: "column" or "key"."""
    heads = list(dict.fromkeys(key for record in records.values() for key in record))
    rows = [[name, *(_text(record.get(key)) for key in heads)] for name, record in records.items()]
    table = Table(label, ("", *heads), rows, list(records), 0)
    return [
        replace(
            way,
            value=way.value.removeprefix(f"{label}:"),
            why=way.why.replace("the column", f"the {what}", 1),
        )
        for way in of_columns(table, records)
    ]


def _text(value: Any) -> str:
    return str(value) if isinstance(value, (str, int, float)) else ""


@dataclass
class Parts:
    """Names of images and their labels by split."""

    names: Mapping[str, Sequence[str]]
    labels: Mapping[str, Array]
    told: list[Decision] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def of_files(self) -> bool:
        """Whether the names of files say which images are for testing."""
        return bool({"test", "val"} & set(self.names))


def by_records(label: str, parts: Parts, ways: Sequence[Published], asked: str | None) -> Parts:
    """The images in the splits that records say, or as the names of files have them. Raises
    NeedsChoiceError where that is open, and DataError where nothing says the split `asked` for."""
    if asked == HOLDOUT or (asked == FILES and parts.of_files):
        return parts
    if asked is not None:
        chosen = [way for way in ways if asked in (way.value, f"{label}:{way.value}")]
        if not chosen:
            known = "".join(f", {way.value!r}" for way in ways)
            raise DataError(
                f"the split cannot be {asked!r}",
                hint=f"Say {HOLDOUT!r}{known}, or tell splits by the names of the files: train-…, "
                "test-….",
            )
        return _divided(parts, chosen[0])
    if parts.of_files:
        said: dict[str, Role | None] = {
            name: _ROLES.get(split) for split, own in parts.names.items() for name in own
        }
        for way in ways:
            if name := way.contradicts(said):
                raise _question(
                    label,
                    f"The names of files and {way.value} tell different splits, such as of {name}",
                    [way],
                    Candidate(FILES, "as the names of the files say"),
                )
        return parts
    if len(ways) == 1 and ways[0].sure:
        return _divided(parts, ways[0])
    if not ways:
        return parts
    holdout = Candidate(HOLDOUT, "a fifth of each class, always the same, is for testing")
    asks = "Several splits are said of the images; which one is it to be?"
    if len(ways) == 1:
        asks = f"Which images are for testing? {ways[0].value} says it of less than half of them."
    raise _question(label, asks, ways, None if all(way.sure for way in ways) else holdout)


_ROLES: dict[str, Role] = {"train": "train", "test": "test", "val": "val", ALL: "train"}


def _question(
    label: str, asks: str, ways: Sequence[Published], other: Candidate | None
) -> NeedsChoiceError:
    candidates = [Candidate(way.value, way.words()) for way in ways]
    candidates += [other] if other is not None else []
    return NeedsChoiceError(label, (Question("split", asks, tuple(candidates)),))


def _divided(parts: Parts, way: Published) -> Parts:
    """All images in the splits that `way` says; those of which it says none are left out."""
    names = [name for own in parts.names.values() for name in own]
    labels = np.concatenate([parts.labels[split] for split in parts.names])
    roles = np.array([way.roles.get(name, "") for name in names])
    order: tuple[Role, ...] = ("train", "test", "val")
    rows = {role: np.flatnonzero(roles == role) for role in order if (roles == role).any()}
    left = [names[row] for row in np.flatnonzero(roles == "")]
    told = [*parts.told, Decision("split", way.value, way.words())]
    if left:
        why = f"{way.value} says no split of them"
        told.append(Decision("", "left out", f"{len(left):,} images: {why}"))
    return Parts(
        {role: [names[row] for row in own] for role, own in rows.items()},
        {role: labels[own] for role, own in rows.items()},
        told,
        [*parts.skipped, *(f"{name}: {way.value} says no split of it" for name in left)],
    )
