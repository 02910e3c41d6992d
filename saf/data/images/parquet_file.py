"""A Parquet file with a column of images: its labels, and what else its columns say."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from saf.data.formats.format import Candidate, NeedsChoiceError, Question
from saf.data.images.decode import MAX_FILE
from saf.data.images.survey import Load
from saf.data.images.tables.columns import says_a_split
from saf.data.images.words import tokens
from saf.data.sources.seekable import Seekable, seekable
from saf.data.sources.source import Source
from saf.errors import DataError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_IMAGES = ("image", "img", "picture", "photo", "pixel_values", "jpg", "png", "bytes")
_LABELS = ("label", "labels", "fine_label", "class", "target", "y", "digit", "category", "cls")
_BATCH = 64  # rows decoded together
HINT = (
    "Send the files as the hub has them: a column of images with their bytes, and one of labels; "
    "arrays as .npz with x_train, y_train, x_test, y_test."
)


def row_name(name: str, row: int) -> str:
    """What an image of a file is called."""
    return f"{name}, row {row}"


class ParquetFile:
    """One file."""

    def __init__(
        self, source: Source, name: str, labels_from: str | None, images_from: str | None
    ) -> None:
        self._name = name
        self._content: Seekable = seekable(source, name)
        with _readable(name), self._opened() as file:
            schema = file.schema_arrow
            self.columns = {field.name: field.type for field in schema}
            self.class_names: tuple[str, ...] | None = None
            images = [key for key, kind in self.columns.items() if _is_image(kind, key)]
            if images_from is None:  # beside `image`, `image_md5` holds none
                sure = [key for key in images if _is_image(self.columns[key], key, sure=True)]
                images = sure or images
            self.rows = int(file.metadata.num_rows)
            self._metadata = (schema.metadata or {}).get(b"huggingface", b"{}")
        if self.rows > source.limits.max_samples or len(self.columns) > 10_000:
            raise DataError(f"{name} has {self.rows} rows, too many", hint="Send fewer samples.")
        self._image = self._image_of(source, images, images_from)
        self.others: list[str] = []
        self.label = self._label_of(images, labels_from)
        self._said = [key for key in self.columns if key != self.label and says_a_split(key)]
        used = {self._image, self.label, *self.others, *self._said}
        self.left = [key for key in self.columns if key not in used]
        self.class_names = _class_names(self._metadata, self.label)

    def _image_of(self, source: Source, images: Sequence[str], said: str | None) -> str:
        """The column of the images. Raises NeedsChoiceError where there are several."""
        if not images:
            raise DataError(
                f"{self._name} has no column of images with their bytes; its columns are "
                f"{self._described(self.columns)}",
                hint=HINT,
            )
        if said is not None and said not in images:
            raise DataError(
                f"images_from: {self._name} has no column {said!r} of images with their bytes",
                hint=f"Say one of {', '.join(images[:20])}.",
            )
        if said is None and len(images) > 1:
            listed = " and ".join(map(repr, images[:6]))
            ways = tuple(Candidate(each, f"the column {each!r}") for each in images[:20])
            asks = f"Which column of {self._name} holds the images? {listed} do."
            raise NeedsChoiceError(source.label, (Question("images_from", asks, ways),))
        return said or images[0]

    def _label_of(self, images: Sequence[str], said: str | None) -> str:
        """The column of the classes: of integers or texts; one of truth values or floats if it is
        named as labels are, or said."""
        kinds = {key: kind for key, kind in self.columns.items() if key not in images}
        if said is not None:
            if said not in kinds or not (_is_label(kinds[said]) or _is_number(kinds[said])):
                raise DataError(
                    f"labels_from: {self._name} has no column {said!r} of class numbers or names; "
                    f"its columns are {self._described(self.columns)}",
                    hint="Say the name of a column of integers, whole floats, truth values or "
                    "texts.",
                )
            return said
        labels = [key for key in kinds if _is_label(kinds[key]) and not says_a_split(key)]
        known = [key for key in _LABELS if key in labels]
        known += [key for key in _LABELS if key in kinds and _is_number(kinds[key])]
        if not known and len(labels) != 1:
            there = self._described(labels or kinds) or "no others"
            raise DataError(
                f"{self._name} has no column of labels: beside the images there are {there}",
                hint="Say labels_from = the name of the column with the classes; if there is none, "
                "add a column 'label' of class numbers or names.",
            )
        chosen = (known or labels)[0]
        self.others = [key for key in labels if key != chosen and key.endswith(_LABELS)]
        return chosen

    def _described(self, columns: Iterable[str]) -> str:
        """Some columns, each with its type."""
        found = [f"{key} ({str(self.columns[key])[:40]})" for key in columns]
        return ", ".join(found[:10]) + (", …" if len(found) > 10 else "")

    def splits(self) -> list[dict[str, Any]]:
        """What the columns that say the split hold in each row."""
        if not self._said:
            return []
        names = {key: _class_names(self._metadata, key) for key in self._said}
        found: list[dict[str, Any]] = []
        with _readable(self._name), self._opened() as file:
            for batch in file.iter_batches(columns=self._said, use_threads=False):
                found += batch.to_pylist()
        for row in found:
            for key, of_class in names.items():
                if of_class and isinstance(row[key], int) and 0 <= row[key] < len(of_class):
                    row[key] = of_class[row[key]]
        return found

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
        if not any(row_name(name, row) in wanted for row in range(self.rows)):
            return
        row = 0
        with _readable(name), self._opened() as file:
            for batch in file.iter_batches(
                batch_size=_BATCH, columns=[self._image], use_threads=False
            ):
                for value in batch.column(0):
                    key = row_name(name, row)
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


def _is_image(kind: Any, name: str, *, sure: bool = False) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_binary(kind.field(index).type)
    may_be = not sure and not {"image", "img"}.isdisjoint(tokens(name))
    return _is_binary(kind) and (name in _IMAGES or may_be)


def _is_binary(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_label(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind))


def _is_number(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_boolean(kind) or types.is_floating(kind) or types.is_decimal(kind))


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
