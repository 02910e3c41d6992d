"""Parquet as the Hugging Face hub writes it: images as `{bytes, path}` with a label each.

The names of the classes are in the schema's metadata, the splits in the names of the files:
`data/train-00000-of-00001.parquet`, `validation-…`, `test-…`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Literal

import numpy as np

from saf.data.arrays.names import ALL, split_of
from saf.data.dataset import Array, Dataset, Decision
from saf.data.formats.format import FORMATS, Recognised
from saf.data.images.labelled import LabelledImages, labelled
from saf.data.images.parquet_file import HINT, ParquetFile, row_name
from saf.data.images.survey import Load
from saf.data.images.tables.records import published
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.errors import DataError

MAGIC = b"PAR1"
_PART = re.compile(r"(\d{3,})-of-(\d{3,})")
_MOST_FILES = 256


@FORMATS.add
class Parquet(LabelledImages):
    """Files of the Hugging Face hub: a column `image` (or `img`) with the bytes of image files, a
    column `label`; splits by the names of the files, `train-00000-of-00001.parquet`, or by a
    column `split`. Of several columns of images `images_from` names the one."""

    label: ClassVar[str] = "Parquet of images, as the Hugging Face hub writes it"
    place: ClassVar[int] = 48
    specificity: ClassVar[int] = 60
    packed: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("pyarrow",)

    name: Literal["parquet"] = "parquet"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        return Recognised() if _files(source) else None

    def read(self, source: Source, limits: Limits) -> Dataset:
        names: dict[str, list[str]] = {}
        labels: dict[str, list[Any]] = {}
        told: list[Decision] = []
        files, skipped = _of_splits(_files(source), told)
        shards = {
            name: ParquetFile(source, name, self.labels_from, self.images_from) for name in files
        }
        class_names = _same(shards)
        records: dict[str, dict[str, Any]] = {}
        for name, shard in shards.items():
            own = shard.labels()
            if all(label == -1 for label in own):
                skipped.append(f"{name}: {len(own)} images without labels")
                continue
            split = split_of(name) if len(shards) > 1 else ALL
            names.setdefault(split, []).extend(row_name(name, row) for row in range(len(own)))
            labels.setdefault(split, []).extend(own)
            records |= {row_name(name, row): said for row, said in enumerate(shard.splits())}
        if not names:
            raise DataError(f"{source.label} holds images without labels", hint=HINT)
        if ALL in names and len(names) > 1:
            told.append(Decision("split", "the others are for training", "their names say none"))
            for part in (names, labels):
                part["train"] = part.pop(ALL)
        first = next(iter(shards.values()))
        if first.others:
            told.append(
                Decision("labels_from", first.label, f"there are {', '.join(first.others)}, too")
            )
        if first.left:
            told.append(
                Decision("", f"left out: {', '.join(first.left[:20])}", "columns of no use here")
            )

        def read(wanted: Collection[str]) -> Iterator[tuple[str, Load]]:
            of_interest = set(wanted)
            for name, shard in shards.items():
                yield from shard.images(of_interest, name)

        return labelled(
            source,
            read,
            names,
            {split: _array(own) for split, own in labels.items()},
            self,
            limits,
            class_names=class_names,
            ways=published(source.label, records, "column"),
            decisions=told,
            skipped=skipped,
        )


def _files(source: Source) -> list[str]:
    if source.single:
        return [source.label] if source.head(source.label, 4) == MAGIC else []
    found = [m.name for m in source.members if m.name.lower().endswith(".parquet")]
    return found if len(found) <= _MOST_FILES else []


def _same(shards: Mapping[str, ParquetFile]) -> tuple[str, ...] | None:
    """The names of the classes. Raises DataError where files have other ones, or other labels."""
    first: tuple[str, ParquetFile] | None = None
    for name, shard in shards.items():
        if first is None or (first[1].class_names is None and shard.label == first[1].label):
            first = name, shard
        elif shard.label != first[1].label or shard.class_names not in (None, first[1].class_names):
            raise DataError(
                f"{first[0]} and {name} have other columns of labels, or other classes",
                hint="Send the files of one data set, of one configuration of it.",
            )
    return first[1].class_names if first else None


def _of_splits(names: Sequence[str], told: list[Decision]) -> tuple[list[str], list[str]]:
    """The files that are read, and those that are left out with the reason: where files are of
    splits, the others. Raises DataError where a split has files of several kinds."""
    split = {name: split_of(name) if len(names) > 1 else ALL for name in names}
    left = []
    if "train" in split.values():
        left = [name for name, own in split.items() if own == ALL]
    kinds: dict[str, dict[str, list[str]]] = {}
    for name, own in split.items():
        if name not in left:
            kinds.setdefault(own, {}).setdefault(_kind(name), []).append(name)
    for own, several in kinds.items():
        called = "all samples" if own == ALL else own
        if len(several) > 1:
            named = " and ".join(files[0] for files in several.values())
            raise DataError(
                f"there are several tables of {called}: {named[:300]}",
                hint="Send one of them, or number the parts of one as the hub does: "
                "train-00000-of-00002.parquet.",
            )
        (files,) = several.values()
        match = _PART.search(files[0])
        if match is not None and len(files) != int(match[2]):
            value = f"{len(files)} of {int(match[2])} files of {called}"
            told.append(Decision("", value, "the others were not sent"))
    skipped = [f"{name}: of no split, as others are" for name in left]
    return [name for name in names if name not in left], skipped


def _kind(name: str) -> str:
    """What the parts of one table have in common."""
    folder, _, base = name.rpartition("/")
    return folder + "/" + re.sub(r"-[0-9a-f]{16}(?=\.)|\d+", "#", base)


def _array(labels: list[Any]) -> Array:
    kinds = {type(label) for label in labels}
    if kinds == {bool}:
        return np.array(labels, np.bool_)
    if kinds <= {float, Decimal}:
        return np.array([float(label) for label in labels])
    if kinds not in ({str}, {int}):
        raise DataError(
            "the column of labels holds something else than numbers or texts", hint=HINT
        )
    return np.array(labels, np.str_ if kinds == {str} else np.int64)
