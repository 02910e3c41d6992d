"""Which class and split each image has, in the layouts that people and published sets have."""

from __future__ import annotations

import io
import json
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from saf.data import detect, read
from saf.errors import DataError
from tests.saf.data.pictures import Files, Pictures, asked, came, decided, table

Place = Callable[[Mapping[str, bytes]], Path]

SPLIT_NAMES = [
    ("train", "test"),
    ("Training", "Testing"),
    ("TRAIN", "TEST"),
    ("training_set", "test_set"),
    ("train_images", "test_images"),
    ("trn", "tst"),
    ("train", "eval"),
    ("Train", "Evaluation"),
    ("trainset", "testset"),
    ("seg_train", "seg_test"),
    ("fruits Train", "fruits Test"),
    ("ibmGestureTrain", "ibmGestureTest"),
    ("ILSVRC2012_img_train", "ILSVRC2012_img_val"),
    ("train", "dev"),
    ("01_train", "02_test"),
]


@pytest.mark.parametrize(("train", "test"), SPLIT_NAMES)
@pytest.mark.parametrize("below", ["{}/{}", "a/b c/{}/{}", "{0}/{0}/{1}", "{}/images/{}"])
def test_all_usual_names_of_splits_are_known_at_any_depth(
    train: str, test: str, below: str, pictures: Pictures, place: Place
) -> None:
    files = pictures.many(*(below.format(split, c) for split in (train, test) for c in "ab"))
    expected = {
        split: {name: name.split("/")[-2] for name in files if f"{folder}/" in f"/{name}"}
        for split, folder in (("train", train), ("test", test))
    }
    found = came(read(place(files)), files)
    assert found["train"].keys() == {n for n in files if n.split("/")[-2:] and f"{train}/" in n}
    assert found == expected


@pytest.mark.parametrize("val", ["val", "Valid", "validation", "dev", "val_set", "VALIDATION"])
def test_three_splits_are_three_splits(val: str, pictures: Pictures, place: Place) -> None:
    files = pictures.many(*(f"{s}/{c}" for s in ("train", "test", val) for c in "ab"))
    found = came(read(place(files)), files)
    assert {split: len(names) for split, names in found.items()} == {
        "train": 8,
        "test": 8,
        "val": 8,
    }
    assert all(name.startswith(val) for name in found["val"])


def test_splits_may_lie_in_the_folders_of_classes(pictures: Pictures, place: Place) -> None:
    files = pictures.many("cat/train", "cat/test", "dog/train", "dog/test")
    found = came(read(place(files)), files)
    assert {n: c for each in found.values() for n, c in each.items()} == {
        name: name.split("/")[0] for name in files
    }
    assert all("/test/" in name for name in found["test"])


def test_a_class_called_train_is_a_class(pictures: Pictures, place: Place) -> None:
    data = read(place(pictures.many("bus", "car", "train")))
    assert data.class_names == ("bus", "car", "train")
    assert decided(data, "split") == "holdout"


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


def test_splits_without_classes_say_so(pictures: Pictures, place: Place) -> None:
    files = pictures.many("train/images", "valid/images", "test/images")
    with pytest.raises(DataError, match="says no classes: no folder in test/, train/, valid/ says"):
        read(place(files))
    rows = [[name, "ab"[n % 2]] for n, name in enumerate(files)]
    data = read(place(files | {"labels.csv": table(["file", "label"], *rows)}))
    assert {s: len(x) for s, x in came(data, files).items()} == dict.fromkeys(
        ("train", "val", "test"), 4
    )


@pytest.mark.parametrize("text", ["a photo of a dog", "1 0 .5", "label: cat", "12", "a 1 2 3 4"])
def test_texts_beside_images_are_no_boxes(text: str, pictures: Pictures, place: Place) -> None:
    files = pictures(*(f"{n}.png" for n in range(6)))
    with pytest.raises(DataError, match=r"says no classes.*0.txt beside them is not read") as said:
        read(place(files | {f"{n}.txt": text.encode() for n in range(6)}))
    assert "detection" not in str(said.value)


def test_a_few_strays_break_no_splits_in_folders_of_classes(
    pictures: Pictures, place: Place
) -> None:
    files = pictures.many("cat/train", "cat/test", "dog/train", "dog/test")
    strays = pictures("cat/preview.png", "dog/docs/a.png", "misc/b.png", "c.png")
    data = read(place(files | strays))
    found = came(data, files)
    assert found["test"].keys() == {n for n in files if "/test/" in n}
    assert found["train"].keys() == {n for n in files if "/train/" in n}
    assert len(data.skipped) == 4
    with pytest.raises(DataError, match="cow/ holds 4 images and no folders for training"):
        read(place(files | pictures.many("cow")))
    with pytest.raises(DataError, match=r"9 images, such as dog/.*, lie in folders of classes"):
        read(place(files | pictures.many("dog", count=9)))


@pytest.mark.parametrize(
    "folders",
    [
        ("train/bus", "train/train", "test/bus", "test/train"),
        ("train/test", "train/other", "test/test", "test/other"),
        ("train/test strip", "train/other", "test/test strip", "test/other"),
        ("train/dev", "train/eval", "test/dev", "test/eval"),
        ("test tube/train", "test tube/test", "train/train", "train/test"),
        ("test data/train/a", "test data/train/b", "test data/test/a", "test data/test/b"),
    ],
)
def test_classes_and_wrappers_may_be_named_as_splits(
    folders: tuple[str, ...], pictures: Pictures, place: Place
) -> None:
    data = read(place(pictures.many(*folders)))
    assert (len(data.y_train), len(data.y_test), data.classes) == (8, 8, 2)


def test_splits_that_are_named_by_more_words_are_told(pictures: Pictures, place: Place) -> None:
    data = read(place(pictures.many("seg_train/a", "seg_train/b", "seg_test/a", "seg_test/b")))
    assert any(
        d.why == "seg_test is for testing, seg_train is for training" for d in data.decisions
    )


def test_a_table_named_by_a_word_such_as_test_lists_no_test_images(
    pictures: Pictures, place: Place
) -> None:
    files = pictures.many("tubes/a", "tubes/b")
    rows = [[name, 3] for name in list(files)[:3]]
    data = read(place(files | {"test_tubes.csv": table(["file", "weight"], *rows)}))
    assert decided(data, "split") == "holdout"


def test_test_images_that_are_named_by_their_class_have_it(
    pictures: Pictures, place: Place
) -> None:
    names = [f"train/{c}.{n}.png" for c in ("cat", "dog") for n in range(5)]
    more = [f"test/{c}.{n}.png" for c in ("cat", "dog") for n in (7, 8)]
    files = pictures(*names, *more)
    found = came(read(place(files), settings={"labels_from": "names"}), files)
    assert found["test"] == {name: name.split("/")[1].split(".")[0] for name in more}


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


def test_flat_images_without_a_word_of_classes_say_how_to_label_them(
    pictures: Pictures, place: Place
) -> None:
    with pytest.raises(DataError, match="no folder says their classes") as caught:
        read(place(pictures(*(f"{n}.png" for n in range(6)))))
    assert "labels.csv" in caught.value.hint


def test_classes_in_file_names_are_a_question_with_a_picture(
    pictures: Pictures, place: Place
) -> None:
    trained = [f"train/{c}.{n}.png" for c in ("cat", "dog") for n in range(5)]
    files = pictures(*trained, *(f"test/{n}.png" for n in range(4)))
    candidates = asked(place(files), "labels_from")
    assert set(candidates) == {"names"}
    assert "cat (5), dog (5)" in candidates["names"].means
    assert candidates["names"].picture
    data = read(place(files), settings={"labels_from": "names"})
    found = came(data, files)
    assert found["train"] | found["test"] == {n: n.split("/")[1].split(".")[0] for n in trained}
    assert len(data.skipped) == 4
    assert all("nothing says the class" in each for each in data.skipped)


@pytest.mark.parametrize(
    ("pattern", "classes"),
    [
        ("{}_{}", ("Abyssinian", "american_bulldog")),
        ("{} ({})", ("Rust", "Leaf spot")),
        ("{1:04}_{0}", ("cat", "dog")),
        ("{}{}", ("happy", "sad")),
    ],
)
def test_names_around_numbers_say_classes(
    pattern: str, classes: tuple[str, ...], pictures: Pictures, place: Place
) -> None:
    files = pictures(*(pattern.format(c, n) + ".png" for c in classes for n in range(5)))
    data = read(place(files), settings={"labels_from": "names"})
    assert set(data.class_names) == set(classes)


IDS = [f"{n:08x}" for n in range(12)]
KAGGLE = {
    "cassava": ("train_images/{}.png", "train.csv", ["image_id", "label"], "{}.png"),
    "dog breeds": ("train/{}.png", "labels.csv", ["id", "breed"], "{}"),
    "cifar-10": ("train/{}.png", "trainLabels.csv", ["id", "label"], "{}"),
    "hub": ("train/{}.png", "train/metadata.csv", ["file_name", "label"], "{}.png"),
    "paths": ("a/images/{}.png", "a/list.csv", ["path", "target"], "images/{}.png"),
    "windows": ("images/{}.png", "x.csv", ["Path", "Class"], ".\\images\\{}.png"),
    "semicolons": ("{}.png", "gt.csv", ["Filename", "ClassId"], "{}.png"),
    "tabs": ("images/{}.png", "labels.tsv", ["image", "category"], "{}.png"),
    "no headings": ("images/{}.png", "labels.txt", None, "{}.png"),
    "other ending": ("images/{}.png", "t.csv", ["image", "diagnosis"], "{}.jpg"),
}


@pytest.mark.parametrize("case", KAGGLE)
def test_a_table_labels_images_by_name_path_or_id(
    case: str, pictures: Pictures, place: Place
) -> None:
    where, name, head, said = KAGGLE[case]
    ids = [str(n) for n in range(1, 13)] if case == "cifar-10" else IDS
    files = pictures(*(where.format(i) for i in ids), *(f"test/{i}x.png" for i in ids[:3]))
    rows = [[said.format(i), f"kind {n % 3}"] for n, i in enumerate(ids)]
    mark = {"semicolons": ";", "tabs": "\t", "no headings": "\t"}.get(case, ",")
    submission = table(head or ["id", "label"], ["x", 0], ["y", 1])
    path = place(files | {name: table(head, *rows, mark=mark), "sample_submission.csv": submission})
    data = read(path)
    found = came(data, files)
    expected = {where.format(i): f"kind {n % 3}" for n, i in enumerate(ids)}
    assert found["train"] | found["test"] == expected
    assert decided(data, "split") == "holdout"
    assert len(data.skipped) == 3
    assert name in decided(data, "labels_from")


def test_json_lines_of_the_hub_label_images(pictures: Pictures, place: Place) -> None:
    files = pictures(*(f"{s}/{i}.png" for s in ("train", "test") for i in IDS))
    lines = {
        f"{split}/metadata.jsonl": "\n".join(
            json.dumps({"file_name": f"{i}.png", "label": n % 2, "text": f"words {i}"})
            for n, i in enumerate(IDS)
        ).encode()
        for split in ("train", "test")
    }
    found = came(read(place(files | lines)), files)
    assert found["train"] == {f"train/{i}.png": str(n % 2) for n, i in enumerate(IDS)}
    assert found["test"] == {f"test/{i}.png": str(n % 2) for n, i in enumerate(IDS)}


def test_captions_are_no_classes(pictures: Pictures, place: Place) -> None:
    files = pictures(*(f"train/{i}.png" for i in IDS))
    captions = table(["file_name", "text"], *[[f"{i}.png", f"a picture of {i}"] for i in IDS])
    with pytest.raises(DataError, match="says no classes"):
        read(place(files | {"train/metadata.csv": captions}))


def test_several_columns_that_may_hold_classes_are_a_question(
    pictures: Pictures, place: Place
) -> None:
    files = pictures(*(f"images_part_{1 + n % 2}/{i}.png" for n, i in enumerate(IDS)))
    head = ["lesion_id", "image_id", "localization", "sex", "age", "dx_type"]
    rows = [
        [f"L{i}", i, f"place {n % 3}", "mf"[n % 2], 30 + n % 4, "ab"[n % 5 == 0]]
        for n, i in enumerate(IDS)
    ]
    path = place(files | {"metadata.csv": table(head, *rows)})
    candidates = asked(path, "labels_from")
    assert set(candidates) == {
        f"metadata.csv:{c}" for c in ("localization", "sex", "age", "dx_type")
    }
    assert all(candidate.picture for candidate in candidates.values())
    data = read(path, settings={"labels_from": "metadata.csv:sex"})
    assert data.class_names == ("f", "m")
    with pytest.raises(DataError, match=r"which column of metadata.csv") as caught:
        read(path, settings={"labels_from": "metadata.csv"})
    assert "localization" in str(caught.value)
    with pytest.raises(DataError, match=r"holds no file 'labels.csv'"):
        read(path, settings={"labels_from": "labels.csv:sex"})


def test_of_two_columns_that_say_the_same_the_words_are_taken(
    pictures: Pictures, place: Place
) -> None:
    files = pictures(*(f"train/{i}.png" for i in IDS))
    rows = [[n % 2, f"{i}.png", ["owl", "elk"][n % 2]] for n, i in enumerate(IDS)]
    data = read(place(files | {"birds.csv": table(["class id", "filepaths", "labels"], *rows)}))
    assert data.class_names == ("elk", "owl")


def test_a_column_for_each_class_labels_images(pictures: Pictures, place: Place) -> None:
    files = pictures(*(f"ISIC2018_Input/{i}.png" for i in IDS))
    rows = [[i, float(n % 3 == 0), float(n % 3 == 1), float(n % 3 == 2)] for n, i in enumerate(IDS)]
    truth = {"GroundTruth.csv": table(["image", "MEL", "NV", "BCC"], *rows)}
    data = read(place(files | truth))
    assert data.class_names == ("BCC", "MEL", "NV")
    found = came(data, files)
    assert (found["train"] | found["test"])[f"ISIC2018_Input/{IDS[1]}.png"] == "NV"


def test_splits_of_a_column_and_of_tables_are_taken(pictures: Pictures, place: Place) -> None:
    files = pictures(*(f"images/{i}.png" for i in IDS))
    splits = ["train"] * 6 + ["valid"] * 3 + ["test"] * 3
    rows = [[f"{i}.png", "ab"[n % 2], s] for n, (i, s) in enumerate(zip(IDS, splits, strict=True))]
    one = read(place(files | {"data.csv": table(["file", "label", "split"], *rows)}))
    several = {
        f"{split}.csv": table(["file", "label"], *[r[:2] for r in rows if r[2] == split])
        for split in set(splits)
    }
    for data in (one, read(place(files | several))):
        found = came(data, files)
        assert {s: len(names) for s, names in found.items()} == {"train": 6, "test": 3, "val": 3}
        assert found["val"].keys() == {f"images/{i}.png" for i in IDS[6:9]}


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
        "LOC_synset_mapping.txt": b"n01440764 tench\nn01443537 goldfish\n",
        "ILSVRC/ImageSets/CLS-LOC/val.txt": "\n".join(
            f"{n} {k}" for k, n in enumerate(names)
        ).encode(),
    }
    found = came(read(place(files | more)), files)
    assert found["test"] == {f"{top}/val/{n}.JPEG": ids[k % 2] for k, n in enumerate(names)}


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


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_in_another_unicode_form_than_in_tables_and_settings_are_found(
    form: Literal["NFC", "NFD"], pictures: Pictures, place: Place
) -> None:
    other: Literal["NFC", "NFD"] = "NFD" if form == "NFC" else "NFC"

    def here(text: str) -> str:
        return unicodedata.normalize(form, text)

    def there(text: str) -> str:
        return unicodedata.normalize(other, text)

    files = pictures(*(here(f"bilder/Fräulein Ö{n}.png") for n in range(10)))
    rows = [[there(name), "ab"[n % 2]] for n, name in enumerate(files)]
    path = place(files | {here("schön.csv"): table(["file", "Ä"], *rows)})
    found = came(read(path, settings={"labels_from": there("schön.csv:Ä")}), files)
    assert found["train"] | found["test"] == {n: "ab"[i % 2] for i, n in enumerate(files)}
    lists = {
        here(f"{split}_größe.txt"): "\n".join(there(n) for n in list(files)[own]).encode()
        for split, own in (("train", slice(0, 6)), ("test", slice(6, 10)))
    }
    data = read(
        place(files | lists | {"l.csv": table(["file", "label"], *rows)}),
        settings={"split": there("train_größe.txt")},
    )
    assert len(data.y_test) == 4


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


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("meta/train.txt", "meta/test.txt"),
        ("trainlist.txt", "testlist.txt"),
        ("splits/train.csv", "splits/test.csv"),
        ("train.txt", "validation.txt"),
    ],
)
@pytest.mark.parametrize("said", ["{}/{}", "{}/{}.png", "images/{}/{}.png"])
def test_published_lists_are_the_split(
    train: str, test: str, said: str, pictures: Pictures, place: Place
) -> None:
    files = pictures.many("images/pie", "images/waffle", count=6)
    lists = {
        name: "\n".join(said.format(c, n) for c in ("pie", "waffle") for n in numbers).encode()
        for name, numbers in ((train, range(2)), (test, range(2, 6)))
    }
    data = read(place(files | lists))
    found = came(data, files)
    assert len(found["train"]) == 4
    assert found["test"].keys() == {
        f"images/{c}/{n}.png" for c in ("pie", "waffle") for n in range(2, 6)
    }
    assert decided(data, "split") == train
    held_out = read(place(files | lists), settings={"split": "holdout"})
    assert len(held_out.y_test) == 3


def test_several_published_splits_are_a_question(pictures: Pictures, place: Place) -> None:
    files = pictures.many("images/a", "images/b", count=6)
    lists = {
        f"labels/{s}{k}.txt": "\n".join(f"{c}/{(n + k) % 6}.png" for c in "ab" for n in r).encode()
        for k in (1, 2, 3)
        for s, r in (("train", (0, 1)), ("val", (2, 3)), ("test", (4, 5)))
    }
    path = place(files | lists)
    assert set(asked(path, "split")) == {f"labels/train{k}.txt" for k in (1, 2, 3)}
    found = came(read(path, settings={"split": "labels/train2.txt"}), files)
    assert found["train"].keys() == {f"images/{c}/{n}.png" for c in "ab" for n in (2, 3)}
    assert len(found["val"]) == len(found["test"]) == 4


def test_birds_are_split_by_their_numbers(pictures: Pictures, place: Place) -> None:
    names = [f"{c}/{c}_{n}.png" for c in ("001.Albatross", "002.Auklet") for n in range(5)]
    files = pictures(*(f"CUB/images/{name}" for name in names))
    numbers = range(1, 11)
    more = {
        "CUB/images.txt": "".join(f"{i} {n}\n" for i, n in zip(numbers, names, strict=True)),
        "CUB/train_test_split.txt": "".join(f"{i} {i % 2}\n" for i in numbers),
        "CUB/image_class_labels.txt": "".join(f"{i} {1 + (i > 5)}\n" for i in numbers),
        "CUB/classes.txt": "1 001.Albatross\n2 002.Auklet\n",
    }
    found = came(read(place(files | {n: t.encode() for n, t in more.items()})), files)
    assert found["train"].keys() == {f"CUB/images/{names[i - 1]}" for i in numbers if i % 2}


def test_what_is_not_listed_for_testing_is_trained_on(pictures: Pictures, place: Place) -> None:
    files = pictures.many("yes", "no", count=6)
    lists = {
        "testing_list.txt": b"yes/0.png\nno/0.png",
        "validation_list.txt": b"yes/1.png\nno/1.png",
    }
    found = came(read(place(files | lists)), files)
    assert {split: len(names) for split, names in found.items()} == {
        "train": 8,
        "test": 2,
        "val": 2,
    }


def test_a_published_split_in_a_file_that_is_not_read_is_a_question(
    pictures: Pictures, place: Place
) -> None:
    path = place(pictures.many("Images/a", "Images/b") | {"lists/train_list.mat": b"MATLAB 5.0"})
    assert set(asked(path, "split")) == {"holdout"}
    assert len(read(path, settings={"split": "holdout"}).y_test) == 2


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


@pytest.mark.parametrize("test", ["test", "test/images", "test/unknown", "test/test"])
def test_test_images_without_classes_are_left_out_and_told(
    test: str, pictures: Pictures, place: Place
) -> None:
    data = read(place(pictures.many("train/cat", "train/dog", test, count=5)))
    assert (len(data.y_train), len(data.y_test)) == (8, 2)
    assert len(data.skipped) == 5
    assert any("nothing says the class" in decision.why for decision in data.decisions)
    assert decided(data, "split") == "holdout"


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


def test_a_test_folder_alone_is_not_trained_on(pictures: Pictures, place: Place) -> None:
    with pytest.raises(DataError, match="test/ is all there is"):
        read(place(pictures.many("data/test/a", "data/test/b")))


@pytest.mark.parametrize(
    ("head", "values"),
    [
        ("tags", ["clear primary", "haze primary", "clear water primary", "haze water", "clear"]),
        ("labels", ["a|b", "b|c", "a|c", "a|b|c"]),
        ("age", [str(number) for number in range(21, 45)]),
    ],
)
def test_values_that_are_no_single_class_are_a_question(
    head: str, values: list[str], pictures: Pictures, place: Place
) -> None:
    names = [f"images/{n:03}.png" for n in range(3 * len(values))]
    rows = [[name, values[n % len(values)]] for n, name in enumerate(names)]
    path = place(pictures(*names) | {"train.csv": table(["image", head], *rows)})
    assert set(asked(path, "labels_from")) == {f"train.csv:{head}"}
    data = read(path, settings={"labels_from": f"train.csv:{head}"})
    assert data.classes == len(values)


@pytest.mark.parametrize("outer", ["part_{}", "batch{}", "images_{}"])
def test_classes_in_folders_that_are_parts_are_a_question(
    outer: str, pictures: Pictures, place: Place
) -> None:
    path = place(pictures.many(*(f"{outer.format(n)}/{c}" for n in (1, 2) for c in ("cat", "dog"))))
    assert set(asked(path, "labels_from")) == {"inner folders"}
    assert read(path, settings={"labels_from": "inner folders"}).class_names == ("cat", "dog")
