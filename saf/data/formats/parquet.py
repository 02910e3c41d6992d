"""Parquet as the Hugging Face hub writes it: images as `{bytes, path}` with a label each.

The names of the classes are in the schema's metadata, the splits in the names of the files:
`data/train-00000-of-00001.parquet`, `validation-…`, `test-…`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from saf.data.arrays.names import ALL, split_of
from saf.data.dataset import Array, Dataset, Decision
from saf.data.formats.format import FORMATS, Recognised
from saf.data.images.decode import MAX_FILE
from saf.data.images.labelled import LabelledImages, labelled
from saf.data.images.survey import Load
from saf.data.sources.limits import Limits
from saf.data.sources.seekable import Seekable, seekable
from saf.data.sources.source import Source
from saf.errors import DataError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

MAGIC = b"PAR1"
_IMAGES = ("image", "img", "picture", "photo", "pixel_values", "jpg", "png", "bytes")
_LABELS = ("label", "labels", "fine_label", "class", "target", "y", "digit", "category", "cls")
_PART = re.compile(r"(\d{3,})-of-(\d{3,})")
_MOST_FILES = 256
_BATCH = 64  # rows decoded together
_HINT = (
    "Send the files as the hub has them: a column of images with their bytes, and one of labels; "
    "arrays as .npz with x_train, y_train, x_test, y_test."
)


@FORMATS.add
class Parquet(LabelledImages):
    """Files of the Hugging Face hub: a column `image` (or `img`) with the bytes of image files, a
    column `label`; splits by the names of the files, `train-00000-of-00001.parquet`."""

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
        shards = {name: _Shard(source, name, self.labels_from) for name in files}
        class_names = _same(shards)
        for name, shard in shards.items():
            own = shard.labels()
            if all(label == -1 for label in own):
                skipped.append(f"{name}: {len(own)} images without labels")
                continue
            split = split_of(name) if len(shards) > 1 else ALL
            names.setdefault(split, []).extend(_row(name, row) for row in range(len(own)))
            labels.setdefault(split, []).extend(own)
        if not names:
            raise DataError(f"{source.label} holds images without labels", hint=_HINT)
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
            decisions=told,
            skipped=skipped,
        )


def _files(source: Source) -> list[str]:
    if source.single:
        return [source.label] if source.head(source.label, 4) == MAGIC else []
    found = [m.name for m in source.members if m.name.lower().endswith(".parquet")]
    return found if len(found) <= _MOST_FILES else []


def _same(shards: Mapping[str, _Shard]) -> tuple[str, ...] | None:
    """The names of the classes. Raises DataError where files have other ones, or other labels."""
    first: tuple[str, _Shard] | None = None
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


def _row(name: str, row: int) -> str:
    return f"{name}, row {row}"


def _array(labels: list[Any]) -> Array:
    texts = all(isinstance(label, str) for label in labels)
    whole = all(isinstance(label, int) for label in labels)
    if not texts and not whole:
        raise DataError(
            "the column of labels holds something else than numbers or texts", hint=_HINT
        )
    return np.array(labels, np.str_ if texts else np.int64)


class _Shard:
    """One file."""

    def __init__(self, source: Source, name: str, labels_from: str | None) -> None:
        self._name = name
        self._content: Seekable = seekable(source, name)
        with _readable(name), self._opened() as file:
            schema = file.schema_arrow
            columns = {field.name: field.type for field in schema}
            self.class_names: tuple[str, ...] | None = None
            images = [key for key in columns if _is_image(columns[key], key)]
            labels = [key for key in columns if _is_label(columns[key]) and key not in images]
            self.rows = int(file.metadata.num_rows)
            metadata = (schema.metadata or {}).get(b"huggingface", b"{}")
        if self.rows > source.limits.max_samples or len(columns) > 10_000:
            raise DataError(f"{name} has {self.rows} rows, too many", hint="Send fewer samples.")
        self._image = next((key for key in _IMAGES if key in images), images[0] if images else "")
        if not self._image:
            raise DataError(
                f"{name} has no column of images with their bytes; its columns are "
                f"{', '.join(list(columns)[:10])}",
                hint=_HINT,
            )
        self.label = labels_from or next(
            (key for key in _LABELS if key in labels), labels[0] if len(labels) == 1 else ""
        )
        if self.label not in labels:
            raise DataError(
                f"{name} has no column of labels"
                + (f" {self.label!r}" if self.label else f"; there are {', '.join(labels[:10])}"),
                hint="Say labels_from = the name of the column with the classes.",
            )
        self.others = [key for key in labels if key != self.label and key.endswith(_LABELS)]
        used = {self._image, self.label, *self.others}
        self.left = [key for key in columns if key not in used]
        self.class_names = _class_names(metadata, self.label)

    def labels(self) -> list[Any]:
        """The label of each row. Raises DataError where one is missing."""
        with _readable(self._name), self._opened() as file:
            found: list[Any] = []
            for batch in file.iter_batches(columns=[self.label], use_threads=False):
                found += batch.column(0).to_pylist()
        if None in found:
            raise DataError(
                f"{self._name}: row {found.index(None)} has no label",
                hint="Remove the rows without a label.",
            )
        return found

    def images(self, wanted: Collection[str], name: str) -> Iterator[tuple[str, Load]]:
        """The bytes of the wanted rows."""
        if not any(_row(name, row) in wanted for row in range(self.rows)):
            return
        row = 0
        with _readable(name), self._opened() as file:
            for batch in file.iter_batches(
                batch_size=_BATCH, columns=[self._image], use_threads=False
            ):
                for value in batch.column(0):
                    key = _row(name, row)
                    row += 1
                    if key in wanted:
                        yield key, partial(_bytes, key, value)

    def _opened(self) -> pq.ParquetFile:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # One thread and the allocator of C: those of arrow end the process where memory is short.
        pa.set_memory_pool(pa.system_memory_pool())
        pa.set_cpu_count(1)
        pa.set_io_thread_count(1)
        return pq.ParquetFile(pa.BufferReader(pa.py_buffer(self._content.view)), pre_buffer=False)


def _bytes(name: str, value: Any) -> bytes:
    found = value.as_py()
    if isinstance(found, dict):
        found = found.get("bytes")
    if not isinstance(found, bytes) or not found:
        raise DataError(
            f"{name} holds no bytes of an image",
            hint="Save the images themselves, not their paths.",
        )
    if len(found) > MAX_FILE:
        raise DataError(f"{name} is an image of {len(found)} bytes", hint="Scale the images down.")
    return found


def _is_image(kind: Any, name: str) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_binary(kind.field(index).type)
    return _is_binary(kind) and name in _IMAGES


def _is_binary(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_label(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind))


def _class_names(metadata: bytes, column: str) -> tuple[str, ...] | None:
    """What the hub keeps of the column; None where there is nothing."""
    try:
        feature = json.loads(metadata)["info"]["features"][column]
        names = feature.get("names")
        if isinstance(names, dict):
            names = [names[str(index)] for index in range(len(names))]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return tuple(names) or None


class _readable:  # noqa: N801
    """Turns whatever pyarrow stumbles over into a DataError that names the file."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, (DataError, MemoryError)):
            raise DataError(
                f"{self._name} is damaged or no Parquet file: {str(error)[:200]}",
                hint="Check that it opens on your own machine, then send it again.",
            ) from error
