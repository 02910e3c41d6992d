"""Images with labels in shards: Parquet of the Hugging Face hub, WebDataset."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from saf.data import detect, read
from saf.data.formats.format import NeedsChoiceError
from saf.errors import DataError

Place = Callable[[Mapping[str, bytes]], Path]
Pack = Callable[[Mapping[str, bytes], str], Path]
Png = Callable[..., bytes]
X = np.random.default_rng(1).integers(0, 256, (20, 9, 7, 3), np.uint8)
Y = [n % 2 for n in range(20)]


def parquet(
    blobs: list[Any], labels: list[Any], names: Any = ("cat", "dog"), column: str = "image"
) -> bytes:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": blob, "path": "x.png"} for blob in blobs], kind)
    table = pa.table({column: images, "label": labels})
    info = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    buffer = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps(info)}), buffer, row_group_size=5
    )
    return buffer.getvalue()


def test_files_of_the_hub_are_read_by_split_with_names_of_classes(pack: Pack, png: Png) -> None:
    blobs = [png(x) for x in X]
    files = {
        "data/train-00000-of-00002.parquet": parquet(blobs[:8], Y[:8]),
        "data/train-00001-of-00002.parquet": parquet(blobs[8:12], Y[8:12]),
        "data/validation-00000-of-00001.parquet": parquet(blobs[12:16], Y[12:16]),
        "data/test-00000-of-00001.parquet": parquet(blobs[16:], Y[16:]),
        "README.md": b"",
    }
    path = pack(files, "zip")
    assert detect(path) == "parquet"
    data = read(path)
    planes = X.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(data.x_train, planes[:12])
    np.testing.assert_array_equal(data.x_val, planes[12:16])
    np.testing.assert_array_equal(data.x_test, planes[16:])
    assert data.y_train.tolist() == Y[:12]
    assert data.class_names == ("cat", "dog")


def test_one_file_alone_has_a_fifth_held_out(tmp_path: Path, png: Png) -> None:
    path = tmp_path / "train-00000-of-00001.parquet"
    path.write_bytes(parquet([png(x) for x in X], Y, names=None, column="img"))
    data = read(path)
    assert np.bincount(data.y_test).tolist() == [2, 2]
    label_of = {x.transpose(2, 0, 1).tobytes(): y for x, y in zip(X, Y, strict=True)}
    for x, y in zip(data.x_train, data.y_train, strict=True):
        assert label_of[x.tobytes()] == y


def test_digests_of_images_beside_these_are_no_images(tmp_path: Path, png: Png) -> None:
    """They were a question, since they are bytes and called as images are."""
    blobs = [png(x) for x in X]
    table = pa.table({"image": blobs, "image_md5": [bytes(16)] * len(X), "label": Y})
    pq.write_table(table, tmp_path / "train.parquet")
    assert len(read(tmp_path / "train.parquet").y_train) == 16
    pq.write_table(
        table.drop(["image"]).append_column("image_bytes", [blobs]), tmp_path / "b.parquet"
    )
    with pytest.raises(NeedsChoiceError):
        read(tmp_path / "b.parquet")


def test_a_test_split_without_labels_is_left_out(place: Place, png: Png) -> None:
    blobs = [png(x) for x in X]
    path = place({"train.parquet": parquet(blobs, Y), "test.parquet": parquet(blobs[:3], [-1] * 3)})
    data = read(path)
    assert len(data.y_train) == 16
    assert data.skipped == ("test.parquet: 3 images without labels",)


def test_a_damaged_image_is_named_by_its_row_and_can_be_skipped(tmp_path: Path, png: Png) -> None:
    blobs = [png(x) for x in X]
    blobs[6] = blobs[6][:40]
    path = tmp_path / "d.parquet"
    path.write_bytes(parquet(blobs, Y))
    with pytest.raises(DataError, match=r"d\.parquet, row 6"):
        read(path)
    assert len(read(path, settings={"on_damaged": "skip"}).skipped) == 1


@pytest.mark.parametrize(
    ("blobs", "labels", "says"),
    [
        ([None] * 4, [0, 1] * 2, "holds no bytes of an image"),
        ([b"x"] * 4, [0, 1, None, 1], "row 2 has no label"),
        ([b"x"] * 4, [0.5] * 4, "values that are not whole"),
        ([b"x"] * 4, [[0]] * 4, r"beside the images there are label \(list<"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(
    blobs: list[Any], labels: list[Any], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "d.parquet"
    path.write_bytes(parquet(blobs, labels))
    with pytest.raises(DataError, match=says):
        read(path)


def test_a_table_without_images_is_refused_with_what_to_send(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pq.write_table(pa.table({"text": ["a", "b"], "label": [0, 1]}), path)
    with pytest.raises(DataError, match="no column of images") as caught:
        read(path)
    assert "npz" in caught.value.hint
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="damaged or no Parquet"):
        read(path)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip", "folder"])
@pytest.mark.parametrize("suffix", ["cls", "json"])
def test_a_shard_has_an_image_and_a_label_under_each_name(
    suffix: str, kind: str, place: Place, pack: Pack, png: Png
) -> None:
    files = {}
    for n, (x, y) in enumerate(zip(X, Y, strict=True)):
        files[f"{n:06d}.png"] = png(x)
        label = str(y) if suffix == "cls" else json.dumps({"label": y, "caption": "an image"})
        files[f"{n:06d}.{suffix}"] = label.encode()
    path = place(files) if kind == "folder" else pack(files, kind)
    assert detect(path) == "webdataset"
    data = read(path)
    label_of = {x.transpose(2, 0, 1).tobytes(): y for x, y in zip(X, Y, strict=True)}
    found = [*zip(data.x_train, data.y_train, strict=True)]
    found += zip(data.x_test, data.y_test, strict=True)
    assert len(found) == 20
    assert all(label_of[x.tobytes()] == y for x, y in found)


def test_an_image_without_a_label_in_a_shard_is_named(pack: Pack, png: Png) -> None:
    files = {f"{n}.png": png(X[n]) for n in range(5)} | {f"{n}.cls": b"0" for n in range(4)}
    with pytest.raises(DataError, match=r"1 images are without a label: 4\.png"):
        read(pack(files, "tar"))


def test_files_of_no_split_are_left_out_beside_those_of_splits(pack: Pack, png: Png) -> None:
    blobs = [png(x) for x in X]
    files = {
        "data/train-00000-of-00001.parquet": parquet(blobs[:12], Y[:12]),
        "data/test-00000-of-00001.parquet": parquet(blobs[12:16], Y[12:16]),
        "data/extra-00000-of-00001.parquet": parquet(blobs[16:], Y[16:]),
        "data/meta.parquet": b"PAR1",
    }
    data = read(pack(files, "zip"))
    assert len(data.y_train) == 12
    assert sorted(data.skipped) == [
        "data/extra-00000-of-00001.parquet: of no split, as others are",
        "data/meta.parquet: of no split, as others are",
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a/train-00000-of-00001.parquet", "b/train-00000-of-00001.parquet"),
        ("train-00000-of-00001.parquet", "train_extra-00000-of-00001.parquet"),
        ("cropped/images.parquet", "full/images.parquet"),
        ("set1/train.parquet", "set2/train.parquet"),
    ],
)
def test_tables_of_several_sets_are_not_joined(one: str, other: str, pack: Pack, png: Png) -> None:
    blobs = [png(x) for x in X]
    files = {one: parquet(blobs[:10], Y[:10]), other: parquet(blobs[10:], Y[10:])}
    with pytest.raises(DataError, match="several tables of") as caught:
        read(pack(files, "zip"))
    assert "Send one of them" in caught.value.hint


def test_files_with_other_classes_are_not_joined(pack: Pack, png: Png) -> None:
    blobs = [png(x) for x in X]
    files = {
        "train-00000-of-00002.parquet": parquet(blobs[:10], Y[:10]),
        "train-00001-of-00002.parquet": parquet(blobs[10:], Y[10:], names=["dog", "cat"]),
    }
    with pytest.raises(DataError, match="other classes"):
        read(pack(files, "zip"))


def test_missing_files_and_columns_that_are_left_out_are_told(pack: Pack, png: Png) -> None:
    blobs = [png(x) for x in X]
    inner = pq.read_table(pa.BufferReader(parquet(blobs, Y)))
    buffer = io.BytesIO()
    pq.write_table(inner.append_column("caption", pa.array(["x"] * 20)), buffer)
    data = read(pack({"train-00001-of-00003.parquet": buffer.getvalue()}, "zip"))
    told = [decision.value for decision in data.decisions]
    assert "1 of 3 files of all samples" in told
    assert "left out: caption" in told


def test_captions_are_no_classes(tmp_path: Path, png: Png) -> None:
    path = tmp_path / "d.parquet"
    path.write_bytes(parquet([png(x) for x in X], [f"a picture of {n}" for n in range(20)], None))
    with pytest.raises(DataError, match="has one sample") as caught:
        read(path)
    assert "captions" in caught.value.hint


def _class_folders(png: Png, about: Callable[[int], Any], wrap: str = "") -> dict[str, bytes]:
    files = {}
    for n, (x, y) in enumerate(zip(X, Y, strict=True)):
        files[f"{wrap}{'ab'[y]}/{n}.png"] = png(x)
        files[f"{wrap}{'ab'[y]}/{n}.json"] = json.dumps(about(n)).encode()
    return files


@pytest.mark.parametrize("wrap", ["", "train/"])
def test_class_folders_with_something_about_each_image_are_no_shard(
    wrap: str, pack: Pack, png: Png
) -> None:
    path = pack(_class_folders(png, lambda n: {"camera": n}, wrap), "zip")
    assert detect(path) == "image-folder"
    assert read(path).class_names == ("a", "b")


def test_class_folders_with_labels_beside_each_image_are_a_question(pack: Pack, png: Png) -> None:
    path = pack(_class_folders(png, lambda n: {"label": n % 3}), "zip")
    with pytest.raises(NeedsChoiceError, match="its folder, or what") as caught:
        read(path)
    assert [c.value for c in caught.value.questions[0].candidates] == ["folders", "label"]
    assert read(path, settings={"labels_from": "folders"}).class_names == ("a", "b")
    assert read(path, settings={"labels_from": "label"}).class_names == ("0", "1", "2")
    assert read(path, "image-folder").class_names == ("a", "b")


def test_the_splits_of_a_shard_may_be_folders(pack: Pack, png: Png) -> None:
    files = {}
    for n, (x, y) in enumerate(zip(X, Y, strict=True)):
        folder = "train" if n < 12 else "test"
        files[f"{folder}/{n}.png"] = png(x)
        files[f"{folder}/{n}.json"] = json.dumps({"label": y}).encode()
    data = read(pack(files, "zip"))
    assert (len(data.y_train), len(data.y_test)) == (12, 8)


def test_a_format_that_is_said_wins_where_it_takes_the_files(pack: Pack, png: Png) -> None:
    files = {f"{'ab'[y]}/{n}.png": png(x) for n, (x, y) in enumerate(zip(X, Y, strict=True))}
    labels = {f"{'ab'[y]}/{n}.cls": b"%d" % (n % 3) for n, y in enumerate(Y)}
    path = pack(files | labels, "zip")
    assert read(path).class_names == ("0", "1", "2")
    assert read(path, "image-folder").class_names == ("a", "b")
    with pytest.raises(DataError, match="was announced as idx, and looks like webdataset"):
        read(path, "idx")
