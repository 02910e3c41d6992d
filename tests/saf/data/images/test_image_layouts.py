"""Which class and split each image has, in the layouts that people and published sets have."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from saf.data import detect, read
from saf.errors import DataError
from tests.saf.data.pictures import Files, Pictures, asked, came, decided, table

Place = Callable[[Mapping[str, bytes]], Path]
ODD = ["test", "val", "masks", "annotations", "unlabeled", "images", "raw", "labels", "part_1"]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("split", ["", "train/"])
def test_a_folder_beside_classes_that_is_named_as_none_is_a_question(
    odd: str, split: str, pictures: Pictures, place: Place
) -> None:
    files = pictures.many(*(f"{split}{name}" for name in ("cat", "dog", odd)))
    if split:
        if odd in ("test", "val"):
            return  # classes, as those of the other split are
        files |= pictures.many("test/cat", "test/dog")
    path = place(files)
    assert set(asked(path, "labels_from")) == {"folders", f"folders without {odd}"}
    assert len(read(path, settings={"labels_from": "folders"}).class_names) == 3
    without = read(path, settings={"labels_from": f"folders without {odd}"})
    assert without.class_names == ("cat", "dog")
    assert len(without.skipped) == 4
    with pytest.raises(DataError, match="no folder 'cow' to leave out"):
        read(path, settings={"labels_from": "folders without cow"})


@pytest.mark.parametrize("odd", ["masks", "labels", "segmentation", "images_gt"])
def test_masks_within_splits_are_segmentation(odd: str, pictures: Pictures, place: Place) -> None:
    files = pictures.many(*(f"{s}/{f}" for s in ("train", "test") for f in ("images", odd)))
    if odd == "images_gt":
        assert set(asked(place(files), "labels_from")) == {"folders", "folders without images"}
        return
    with pytest.raises(DataError, match=f"segmentation: the folders images, {odd}"):
        read(place(files))


@pytest.mark.parametrize("folders", ["{}/images", "images/{}", "{}"])
@pytest.mark.parametrize("splits", [("train", "valid", "test"), ("train", "val"), ("train",)])
def test_boxes_beside_the_images_of_splits_are_object_detection(
    folders: str, splits: tuple[str, ...], pictures: Pictures, place: Place
) -> None:
    files = pictures(*(f"{folders.format(s)}/{s}{n}.png" for s in splits for n in range(4)))
    boxes = {n.replace("images", "labels")[:-3] + "txt": b"1 .5 .5 .2 .2\n" for n in files}
    empty = dict.fromkeys(list(boxes)[:1], b"")
    with pytest.raises(DataError, match="is for object detection: files such as"):
        read(place(files | boxes | empty | {"data.yaml": b"nc: 2"}))


@pytest.mark.parametrize("text", ["a photo of a dog", "1 0 .5", "label: cat", "12", "a 1 2 3 4"])
def test_texts_beside_images_are_no_boxes(text: str, pictures: Pictures, place: Place) -> None:
    files = pictures(*(f"{n}.png" for n in range(6)))
    with pytest.raises(DataError, match=r"says no classes.*0.txt beside them is not read") as said:
        read(place(files | {f"{n}.txt": text.encode() for n in range(6)}))
    assert "detection" not in str(said.value)


FLAT = [
    ("train", "test"),
    ("train_images", "test_images"),
    ("images/train", "images/val"),
    ("part_1", "part_2"),
    ("HAM10000_images_part_1", "HAM10000_images_part_2"),
    ("images_001", "images_002"),
    ("batch1", "batch2"),
    ("images", "pictures"),
    ("images",),
    ("all/data",),
]


@pytest.mark.parametrize("folders", FLAT)
def test_folders_that_are_no_classes_are_none(
    folders: tuple[str, ...], pictures: Pictures, place: Place
) -> None:
    files = pictures(
        *(f"{f}/{n}.png" for i, f in enumerate(folders) for n in range(i * 9, i * 9 + 4))
    )
    with pytest.raises(DataError) as caught:
        read(place(files))
    assert "class" in str(caught.value)
    labels = [[n.rpartition("/")[2], "cd"[i % 2]] for i, n in enumerate(files)]
    data = read(place(files | {"labels.csv": table(["file_name", "label"], *labels)}))
    found = came(data, files)
    assert {n.rpartition("/")[2]: c for s in found.values() for n, c in s.items()} == dict(labels)
    assert decided(data, "labels_from") == "labels.csv:label"


def test_tiny_imagenet_is_read_as_it_is_distributed(pictures: Pictures, place: Place) -> None:
    top = "tiny-imagenet-200"
    ids = ("n01443537", "n01629819")
    files = pictures(*(f"{top}/train/{c}/images/{c}_{n}.JPEG" for c in ids for n in range(4)))
    files |= pictures.many(f"{top}/val/images", f"{top}/test/images", ending=".JPEG")
    more = {f"{top}/train/{c}/{c}_boxes.txt": f"{c}_0.JPEG\t0\t0\t9\t9\n".encode() for c in ids}
    lines = [f"{n}.JPEG\t{ids[n % 2]}\t{n}\t0\t9\t9" for n in range(4)]
    more |= {
        f"{top}/val/val_annotations.txt": "\n".join(lines).encode(),
        f"{top}/wnids.txt": "\n".join(ids).encode(),
        f"{top}/words.txt": b"n01443537\tgoldfish\nn01629819\tsalamander\n",
    }
    data = read(place(files | more))
    found = came(data, files)
    assert len(found["train"]) == 8
    assert found["test"] == {f"{top}/val/images/{n}.JPEG": ids[n % 2] for n in range(4)}
    assert len(data.skipped) == 4
    assert decided(data, "labels_from") == f"{top}/val/val_annotations.txt:2"


def test_imagenet_is_read_as_kaggle_distributes_it(pictures: Pictures, place: Place) -> None:
    top, ids = "ILSVRC/Data/CLS-LOC", ("n01440764", "n01443537")
    files = pictures(*(f"{top}/train/{c}/{c}_{n}.JPEG" for c in ids for n in range(4)))
    names = [f"ILSVRC2012_val_{n:08}" for n in range(4)]
    files |= pictures(*(f"{top}/val/{n}.JPEG" for n in names), f"{top}/test/t_1.JPEG")
    rows = [[n, f"{ids[k % 2]} 10 10 90 90 {ids[k % 2]} 1 2 3 4 "] for k, n in enumerate(names)]
    more = {
        "LOC_val_solution.csv": table(["ImageId", "PredictionString"], *rows),
        "LOC_sample_submission.csv": table(["ImageId", "PredictionString"], ["t_1", "n0 1 2 3 4"]),
        "LOC_synset_mapping.txt": b"n01440764 tench, Tinca tinca\n"
        b"n01443537 goldfish, Carassius auratus\nn01484850 great white shark, white shark\n",
        "ILSVRC/ImageSets/CLS-LOC/val.txt": "\n".join(
            f"{n} {k}" for k, n in enumerate(names)
        ).encode(),
    }
    found = came(read(place(files | more)), files)
    called = ("tench, Tinca tinca", "goldfish, Carassius auratus")
    assert found["test"] == {f"{top}/val/{n}.JPEG": called[k % 2] for k, n in enumerate(names)}


def test_traffic_signs_of_kaggle_are_read_once_with_their_test_table(
    pictures: Pictures, place: Place
) -> None:
    files = pictures(*(f"Train/{c}/{c}_{n}.png" for c in range(12) for n in range(2)))
    files |= pictures(*(f"Test/{n:05}.png" for n in range(6)))
    again = {name[0].lower() + name[1:]: blob for name, blob in files.items()}
    rows = [[53, 54, n * 2, f"Test/{n:05}.png"] for n in range(6)]
    tables = {"Test.csv": table(["Width", "Height", "ClassId", "Path"], *rows)}
    data = read(place(files | again | tables))
    found = came(data, files)
    assert found["test"] == {f"Test/{n:05}.png": str(n * 2) for n in range(6)}
    assert len(found["train"]) == 24
    assert data.class_names == tuple(str(n) for n in range(12))
    assert len(data.skipped) == len(again)


def test_a_tree_that_is_packed_twice_is_read_once_and_another_is_not(
    pictures: Pictures, place: Place
) -> None:
    files = pictures.many("x/train/a", "x/train/b", "x/test/a", "x/test/b")
    again = {f"x/{name}": blob for name, blob in files.items()}
    data = read(place(files | again))
    assert sum(map(len, came(data, files).values())) == len(files)
    assert any("x/x/ holds the same images again" in d.why for d in data.decisions)
    other = {f"x/{name}": blob for name, blob in pictures.many(*{n[:-6] for n in files}).items()}
    with pytest.raises(DataError, match="x/x/ is no split"):
        read(place(files | other))


@pytest.mark.parametrize("changed", [1, 198])
def test_one_image_that_differs_in_a_tree_that_is_packed_twice_is_not_lost(
    changed: int, pictures: Pictures, place: Place
) -> None:
    files = pictures(*(f"x/train/{c}/{n:03}.png" for c in "ab" for n in range(100)))
    again = {f"x/{name}": blob for name, blob in files.items()}
    assert len(read(place(files | again)).skipped) == 200
    name = sorted(again)[changed]
    again[name] = again[name][:-1] + b"\x83"  # of the same size
    with pytest.raises(DataError, match=name):
        read(place(files | again))


def test_folders_named_as_none_of_classes_are_no_candidates(
    pictures: Pictures, place: Place
) -> None:
    splits = [("seg_train", "seg_test"), ("cat_train", "cat_test", "dog_train", "dog_test")]
    for folders in (("train", "test"), ("part_1", "part_2"), ("images", "raw"), *splits):
        path = place(pictures.many(*folders))
        with pytest.raises(DataError, match="says no classes") as caught:
            read(path)
        assert "labels_from: 'folders'" in caught.value.hint
        assert read(path, settings={"labels_from": "folders"}).classes == len(folders)
    data = read(place(pictures.many("cat/images", "dog/photos", "owl/raw")))
    assert data.class_names == ("cat", "dog", "owl")


def test_letters_of_both_cases_are_classes(pictures: Pictures, place: Place) -> None:
    files = pictures.many("A", "a", "B", "b")
    same = {name: files[f"A/{name[-5:]}"] for name in files}  # one letter, drawn alike
    data = read(place(same))
    assert data.class_names == ("A", "B", "a", "b")
    assert len(data.y_train) + len(data.y_test) == 16
    assert any("differ in case alone" in decision.why for decision in data.decisions)


def test_a_class_is_one_in_two_unicode_forms_and_in_the_case_of_another_split(
    pictures: Pictures, place: Place
) -> None:
    apart = unicodedata.normalize("NFD", "Äpfel")
    files = pictures.many("train/Äpfel", "train/Birne", f"test/{apart}", "test/birne ")
    data = read(place(files))
    assert data.class_names == ("Birne", "Äpfel")
    assert np.bincount(data.y_test).tolist() == [4, 4]
    assert any("Unicode form" in decision.why for decision in data.decisions)
    mixed = pictures.many("train/Äpfel", f"train/{apart}", "train/Birne")
    assert read(place(mixed)).class_names == ("Birne", "Äpfel")


def test_classes_named_by_numbers_are_in_their_order(pictures: Pictures, place: Place) -> None:
    data = read(place(pictures.many(*map(str, range(12)))))
    assert data.class_names == tuple(str(n) for n in range(12))
    assert any(decision.value == "order of classes" for decision in data.decisions)


def test_litter_of_systems_and_storage_is_no_sample(pictures: Pictures, place: Place) -> None:
    files = pictures.many("cat", "dog")
    litter = pictures(
        "@eaDir/cat/0.png/SYNOPHOTO_THUMB_M.png",
        "cat/@eaDir/0.png/SYNOPHOTO_THUMB_M.png",
        "__MACOSX/cat/0.png",
        ".thumbnails/0.png",
        "#recycle/0.png",
        "$RECYCLE.BIN/0.png",
        "cat/.ipynb_checkpoints/0-checkpoint.png",
        ".AppleDouble/0.png",
    )
    others = {
        "Thumbs.db": b"x",
        "cat/Thumbs.db": b"x",
        "dog/Desktop.ini": b"x",
        "dog/.DS_Store": b"x",
    }
    data = read(place(files | litter | others))
    assert data.class_names == ("cat", "dog")
    assert len(data.y_train) + len(data.y_test) == 8
    assert not data.skipped


def test_pictures_beside_the_folders_are_left_out_and_told(
    pictures: Pictures, place: Place
) -> None:
    files = pictures.many("train/cat", "train/dog", "test/cat", "test/dog", "docs")
    data = read(place(files | pictures("preview.png", "train/grid.png", side=9)))
    assert len(data.y_train) == len(data.y_test) == 8
    assert len(data.skipped) == 6
    many = pictures(*(f"{n}.png" for n in range(30)))
    with pytest.raises(DataError, match=r"30 images, such as 0.png, lie beside the folders"):
        read(place(pictures.many("cat", "dog") | many))


def test_masks_beside_images_are_no_samples(pictures: Pictures, place: Place) -> None:
    files = pictures(*(f"{c}/{c} ({n}).png" for c in ("benign", "malignant") for n in range(4)))
    masks = pictures("benign/benign (1)_mask.png", "benign/benign (1)_mask_1.png")
    data = read(place(files | masks))
    assert len(data.y_train) + len(data.y_test) == 8
    assert len(data.skipped) == 2


@pytest.mark.parametrize("kind", ["yolo", "voc", "coco", "masks"])
def test_detection_and_segmentation_are_refused_as_what_they_are(
    kind: str, pictures: Pictures, place: Place
) -> None:
    files = pictures.many("images/train", "images/val")
    more: Files = {}
    match kind:
        case "yolo":
            more = {n.replace("images", "labels")[:-3] + "txt": b"0 .5 .5 .2 .2\n" for n in files}
        case "voc":
            files = pictures.many("JPEGImages")
            more = {f"Annotations/{n}.xml": b"<annotation/>" for n in range(4)}
        case "coco":
            more = {"annotations/instances_train2017.json": b"{}"}
        case "masks":
            files = pictures.many("images", "masks")
    with pytest.raises(DataError, match=r"object detection|segmentation") as caught:
        read(place(files | more))
    assert "folder for each class" in caught.value.hint


def test_folders_in_folders_of_classes_are_a_question(pictures: Pictures, place: Place) -> None:
    files = pictures.many(
        "train/animal/cat", "train/animal/dog", "train/vehicle/car", "train/vehicle/bus"
    )
    candidates = asked(place(files), "labels_from")
    assert set(candidates) == {"folders", "inner folders"}
    assert "2 classes" in candidates["folders"].means
    assert "4 classes" in candidates["inner folders"].means
    outer = read(place(files), settings={"labels_from": "folders"})
    assert outer.class_names == ("animal", "vehicle")
    inner = read(place(files), settings={"labels_from": "inner folders"})
    assert inner.class_names == ("bus", "car", "cat", "dog")
    variants = pictures.many(
        *(f"{v}/{c}" for v in ("color", "grayscale") for c in ("apple", "corn"))
    )
    assert set(asked(place(variants), "labels_from")) == {"folders", "inner folders"}


@pytest.mark.parametrize(
    "folders",
    [("train/cat/person1", "train/dog/person1"), ("cat", "dog/more"), ("cat/images", "dog/images")],
)
def test_folders_below_a_class_belong_to_it(
    folders: tuple[str, ...], pictures: Pictures, place: Place
) -> None:
    assert read(place(pictures.many(*folders))).class_names == ("cat", "dog")


def test_the_background_of_caltech_is_no_class(pictures: Pictures, place: Place) -> None:
    files = pictures.many(
        *(f"101_ObjectCategories/{c}" for c in ("BACKGROUND_Google", "ant", "bass"))
    )
    data = read(place(files))
    assert data.class_names == ("ant", "bass")
    assert len(data.skipped) == 4


def test_a_preview_beside_arrays_is_no_image_folder(pictures: Pictures, place: Place) -> None:
    arrays = {}
    for name, shape in (("x_train", (8, 4, 4)), ("x_test", (4, 4, 4))):
        buffer = io.BytesIO()
        np.save(buffer, np.arange(np.prod(shape), dtype=np.uint8).reshape(shape))
        arrays[f"{name}.npy"] = buffer.getvalue()
    for name, count in (("y_train", 8), ("y_test", 4)):
        buffer = io.BytesIO()
        np.save(buffer, np.arange(count) % 2)
        arrays[f"{name}.npy"] = buffer.getvalue()
    assert detect(place(arrays | pictures("preview.png"))) == "npz"


@pytest.mark.parametrize("outer", ["part_{}", "batch{}", "images_{}"])
def test_classes_in_folders_that_are_parts_are_a_question(
    outer: str, pictures: Pictures, place: Place
) -> None:
    path = place(pictures.many(*(f"{outer.format(n)}/{c}" for n in (1, 2) for c in ("cat", "dog"))))
    assert set(asked(path, "labels_from")) == {"inner folders"}
    assert read(path, settings={"labels_from": "inner folders"}).class_names == ("cat", "dog")
