"""Shards that leave something open: several images of a sample, splits that stand beside labels."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from saf.data import Dataset, read
from saf.errors import DataError
from tests.saf.data.pictures import asked, decided

Pack = Callable[[Mapping[str, bytes], str], Path]
Png = Callable[..., bytes]
COUNT = 20
X = np.random.default_rng(1).integers(0, 256, (2, COUNT, 8, 8), np.uint8)
Y = [n % 2 for n in range(COUNT)]
TESTED = [n for n in range(COUNT) if n % 10 > 6]


def shard(png: Png, *parts: str, **about: list[Any]) -> dict[str, bytes]:
    """A sample has an image by each of the parts, and a .json with its label and the rest."""
    files = {}
    for n in range(COUNT):
        for part, x in zip(parts, X, strict=False):
            files[f"{n:03}.{part}"] = png(x[n])
        fields = {"label": Y[n]} | {key: values[n] for key, values in about.items()}
        files[f"{n:03}.json"] = json.dumps(fields).encode()
    return files


def table(png: Png, labels: Any = Y, **columns: Any) -> bytes:
    """Parquet with a column of images."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": png(x), "path": None} for x in X[0]], kind)
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": images, "label": labels} | columns), buffer)
    return buffer.getvalue()


def of_test(data: Dataset, part: int = 0) -> list[int]:
    """Which samples are tested on; of all it is looked at whether they have their labels."""
    number_of = {x.tobytes(): n for n, x in enumerate(X[part])}
    for split in data.splits:
        x, y = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
        assert [Y[number_of[image.tobytes()]] for image in x] == y.tolist()
    return sorted(number_of[image.tobytes()] for image in data.x_test)


@pytest.mark.parametrize(
    "parts", [("png", "seg.png"), ("left.png", "right.png"), ("jpg", "png"), ("PNG", "png")]
)
def test_several_images_of_a_sample_are_a_question_which_is_the_one(
    parts: tuple[str, str], pack: Pack, png: Png
) -> None:
    path = pack(shard(png, *parts), "tar")
    candidates = asked(path, "images_from")
    assert len(candidates) == 2
    for part, (value, candidate) in enumerate(candidates.items()):
        assert "20 images such as 000." in candidate.means
        assert candidate.picture
        data = read(path, settings={"images_from": value})
        assert len(of_test(data, part)) == 4
        assert "20 others are left out" in str(data.decisions)
        assert len(data.skipped) == 20
        assert data.skipped[0].endswith(f": {value} is taken of its sample")


def test_an_image_that_not_all_samples_have_is_no_candidate(pack: Pack, png: Png) -> None:
    files = shard(png, "png") | {"003.mask.png": png(X[1][3])}
    path = pack(files, "tar")
    assert set(asked(path, "images_from")) == {"png"}
    with pytest.raises(DataError, match=r"19 of 20 samples have no 'mask\.png'"):
        read(path, settings={"images_from": "mask.png"})
    del files["005.png"]
    files["005.jpg"] = png(X[0][5])
    with pytest.raises(DataError, match=r"003\.mask\.png and 003\.png") as caught:
        read(pack(files, "tar"))
    assert "one image for each sample" in caught.value.hint


def test_one_image_of_each_sample_under_a_longer_ending_is_read(pack: Pack, png: Png) -> None:
    assert len(of_test(read(pack(shard(png, "input.png"), "tar")))) == 4


def test_several_columns_of_images_are_a_question(tmp_path: Path, png: Png) -> None:
    path = tmp_path / "d.parquet"
    kind = pa.struct([("bytes", pa.binary())])
    path.write_bytes(table(png, mask=pa.array([{"bytes": png(x)} for x in X[1]], kind)))
    assert list(asked(path, "images_from")) == ["image", "mask"]
    of_test(read(path, settings={"images_from": "image"}))
    of_test(read(path, settings={"images_from": "mask"}), part=1)
    with pytest.raises(DataError, match="no column 'label' of images") as caught:
        read(path, settings={"images_from": "label"})
    assert "image, mask" in caught.value.hint


SAID: list[tuple[str, Callable[[int], Any]]] = [
    ("split", lambda n: "test" if n in TESTED else "train"),
    ("subset", lambda n: "Testing" if n in TESTED else "Training"),
    ("is_test", lambda n: n in TESTED),
    ("is_train", lambda n: int(n not in TESTED)),
]


@pytest.mark.parametrize(("heading", "said"), SAID)
@pytest.mark.parametrize("kind", ["parquet", "webdataset"])
def test_a_split_that_stands_beside_the_labels_is_used(
    kind: str, heading: str, said: Callable[[int], Any], pack: Pack, png: Png
) -> None:
    values = [said(n) for n in range(COUNT)]
    if kind == "parquet":
        path = pack({"d.parquet": table(png, **{heading: values})}, "zip")
    else:
        path = pack(shard(png, "png", **{heading: values}), "tar")
    data = read(path)
    assert of_test(data) == TESTED
    assert decided(data, "split")
    assert of_test(read(path, settings={"split": decided(data, "split")})) == TESTED
    assert of_test(read(path, settings={"split": "holdout"})) != TESTED


def test_a_split_is_used_beside_a_class_in_a_file_of_its_own(pack: Pack, png: Png) -> None:
    values = ["test" if n in TESTED else "train" for n in range(COUNT)]
    files = shard(png, "png", split=values)
    files |= {f"{n:03}.cls": str(Y[n]).encode() for n in range(COUNT)}
    assert of_test(read(pack(files, "tar"))) == TESTED


def test_a_long_json_beside_a_class_in_a_file_of_its_own_is_not_read(pack: Pack, png: Png) -> None:
    files = shard(png, "png", about=["x" * 2**20] * COUNT)
    files |= {f"{n:03}.cls": str(Y[n]).encode() for n in range(COUNT)}
    assert len(of_test(read(pack(files, "tar")), 0)) == 4


def test_rows_of_no_split_are_left_out_and_told(tmp_path: Path, png: Png) -> None:
    path = tmp_path / "d.parquet"
    values = ["test" if n in TESTED else "train" if n > 3 else None for n in range(COUNT)]
    path.write_bytes(table(png, split=values))
    data = read(path)
    assert of_test(data) == TESTED
    assert len(data.y_train) == COUNT - len(TESTED) - 4
    assert data.skipped[0] == "d.parquet, row 0: split says no split of it"


@pytest.mark.parametrize(
    "values", [[n % 3 for n in range(COUNT)], ["one", "one", "two", "two"] * 5]
)
def test_numbers_of_folds_and_unknown_words_are_a_question(
    values: list[Any], tmp_path: Path, png: Png
) -> None:
    path = tmp_path / "d.parquet"
    heading = "fold" if values[0] == 0 else "split"
    path.write_bytes(table(png, **{heading: values}))
    assert set(asked(path, "split")) == {*(f"{heading}={v}" for v in set(values)), "holdout"}
    data = read(path, settings={"split": f"{heading}={values[0]}"})
    assert of_test(data) == [n for n in range(COUNT) if values[n] == values[0]]
    with pytest.raises(DataError, match="cannot be 'x'") as caught:
        read(path, settings={"split": "x"})
    assert f"{heading}={values[0]}" in caught.value.hint


def test_a_column_that_contradicts_the_names_of_files_is_a_question(pack: Pack, png: Png) -> None:
    files = {
        f"{split}-00000-of-00001.parquet": table(png, split=[other] * COUNT)
        for split, other in (("train", "test"), ("test", "train"))
    }
    path = pack(files, "zip")
    assert list(asked(path, "split")) == ["split", "files"]
    for value in ("split", "files"):
        assert len(read(path, settings={"split": value}).y_test) == COUNT


def test_a_split_is_no_label(tmp_path: Path, png: Png) -> None:
    path = tmp_path / "d.parquet"
    inner = pq.read_table(pa.BufferReader(table(png, split=["train", "test"] * 10)))
    pq.write_table(inner.drop_columns(["label"]), path)
    with pytest.raises(DataError, match=r"no column of labels: .* split \(string\)") as caught:
        read(path)
    assert "labels_from" in caught.value.hint


@pytest.mark.parametrize(
    "labels",
    [[float(y) for y in Y], [bool(y) for y in Y], [Decimal(y) for y in Y]],
    ids=["double", "bool", "decimal"],
)
def test_whole_floats_and_truth_values_are_labels(labels: Any, tmp_path: Path, png: Png) -> None:
    path = tmp_path / "d.parquet"
    path.write_bytes(table(png, labels))
    data = read(path)
    assert data.class_names == ("0", "1")
    of_test(data)
    path.write_bytes(table(png, ["x"] * COUNT, score=labels))
    assert read(path, settings={"labels_from": "score"}).class_names == ("0", "1")
    with pytest.raises(DataError, match="no column 'image' of class numbers or names"):
        read(path, settings={"labels_from": "image"})


def test_a_json_that_contradicts_the_file_of_the_class_is_a_question(pack: Pack, png: Png) -> None:
    files = shard(png, "png")
    agreeing = files | {f"{n:03}.cls": b"ab"[Y[n] : Y[n] + 1] for n in range(COUNT)}
    assert read(pack(agreeing, "tar")).class_names == ("a", "b")
    for other in (lambda n: 1 - Y[n], lambda n: n % 3):
        path = pack(files | {f"{n:03}.cls": b"%d" % other(n) for n in range(COUNT)}, "tar")
        assert [*asked(path, "labels_from")] == ["cls", "label"]
        of_test(read(path, settings={"labels_from": "label"}))
        data = read(path, settings={"labels_from": "cls"})
        first = next(n for n in range(COUNT) if X[0][n].tobytes() == data.x_train[0].tobytes())
        assert data.class_names[data.y_train[0]] == str(other(first))
