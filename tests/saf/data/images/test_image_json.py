"""Labels in JSON beside images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from saf.data import read
from saf.data.images.tables.json_rows import of_whole_json
from saf.errors import DataError
from tests.saf.data.pictures import Pictures, came, decided

Place = Callable[[Mapping[str, bytes]], Path]
CLASSES = ("cat", "dog")


def said(kind: str, names: list[str]) -> Any:
    label = {name: CLASSES[n % 2] for n, name in enumerate(names)}
    split = {name: "test" if n % 4 > 1 else "train" for n, name in enumerate(names)}
    if kind == "labels by file":
        return label
    if kind == "pairs":
        return {"labels": [[name, label[name]] for name in names]}
    if kind == "objects by file":
        return {name: {"label": label[name], "split": split[name]} for name in names}
    return [{"image": name, "label": label[name], "split": split[name]} for name in names]


@pytest.mark.parametrize("kind", ["labels by file", "pairs", "objects by file", "objects"])
@pytest.mark.parametrize("file", ["labels.json", "images/dataset.json"])
def test_classes_in_json_are_read(kind: str, file: str, pictures: Pictures, place: Place) -> None:
    files = pictures(*(f"images/{n}.png" for n in range(12)))
    names = [name.rpartition("/")[2] for name in files]
    data = read(place(files | {file: json.dumps(said(kind, names)).encode()}))
    found = came(data, files)
    numbers = {n: c for own in found.values() for n, c in own.items()}
    assert numbers == {name: CLASSES[n % 2] for n, name in enumerate(files)}
    assert decided(data, "labels_from") == f"{file}:label"
    if "objects" in kind:
        assert found["test"].keys() == {name for n, name in enumerate(files) if n % 4 > 1}


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "[1, 2]", '{"a": [1]}', '{"images": [], "annotations": []}', "{", '["a", "b"]'],
)
def test_other_json_is_no_table(text: str, pictures: Pictures, place: Place) -> None:
    assert of_whole_json(text) == []
    with pytest.raises(DataError, match=r"labels\.json beside them is not read for labels"):
        read(place(pictures.many("images") | {"labels.json": text.encode()}))


def test_a_file_with_two_labels_is_refused(pictures: Pictures, place: Place) -> None:
    """Of two equal names a dictionary keeps the last one."""
    files = pictures(*(f"images/{n}.png" for n in range(12)))
    pairs = [f'"{n}.png": "{CLASSES[n % 2]}"' for n in range(12)] + ['"0.png": "dog"']
    with pytest.raises(DataError, match=r"0\.png has two classes, 'cat' and 'dog'"):
        read(place(files | {"labels.json": f"{{{', '.join(pairs)}}}".encode()}))


def test_objects_that_share_no_keys_are_no_table_and_fill_no_memory() -> None:
    assert of_whole_json(json.dumps([{f"key{n}": n} for n in range(20_000)])) == []
