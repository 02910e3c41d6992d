"""Image files in folders, and what image files may be like."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.data.layouts.parts import (
    CLASSES,
    Files,
    Layout,
    encoded,
    flat,
    image,
    kind,
    lines,
    many,
    pixels,
    table,
)

SPLITS = ("train/{c}/{n}.png", "test/{c}/{n}.png")
COUNT = 12


def tiny_imagenet() -> Files:
    """Classes of the validation images in a table beside them."""
    top = "tiny-imagenet-200"
    names = ("n01443537", "n01629819")
    files = many(f"{top}/train/{{c}}/images/{{c}}_{{n}}.JPEG", classes=names)
    rows = []
    for n in range(4):
        files[f"{top}/val/images/val_{n}.JPEG"] = image(names[n % 2], n, split="val")
        files[f"{top}/test/images/test_{n}.JPEG"] = image(names[0], n, split="none")
        rows.append(f"val_{n}.JPEG\t{names[n % 2]}\t0\t0\t{n}\t9")
    return files | {f"{top}/val/val_annotations.txt": lines(rows)}


def traffic_signs() -> Files:
    """GTSRB as Kaggle has it."""
    classes = [str(c) for c in range(6)]
    files = many("Train/{c}/{c}_{n}.png", count=3, classes=classes)
    head = ["Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId", "Path"]
    rows = [[16, 16, (n + 2) % 6, 3, 14, 14, n % 6, f"Test/{n:05}.png"] for n in range(COUNT)]
    files |= {f"Test/{n:05}.png": image(str(n % 6), n, split="test") for n in range(COUNT)}
    return files | {"Test.csv": table(head, *rows)}


def one_of(name: str, content: bytes) -> Files:
    """Folders of splits, one training image replaced."""
    files = many(*SPLITS)
    del files["train/cat/0.png"]
    return files | {name: content}


def boxes(text: str) -> Files:
    """A text beside each image of splits."""
    files = many("{c}/images/{n}.png", classes=("train", "valid"))
    return files | {n.replace("images", "labels")[:-3] + "txt": text.encode() for n in files}


def values(*tops: int, dtype: type = np.uint16) -> Files:
    """Gray images that reach these values, in each split and class."""
    files = {}
    for split in ("train", "test"):
        for n, top in enumerate(tops * 2):
            ramp: NDArray[Any] = np.linspace(0, top, 64).reshape(8, 8).astype(dtype)
            files[f"{split}/{kind(n // len(tops))}/{n}.png"] = encoded(ramp)
    return files


def sizes(*sides: tuple[int, int]) -> Files:
    """Images of some sizes, width × height."""
    return {
        f"{s}/{c}/{n}.png": image(c, n, height, width, split=s)
        for s in ("train", "test")
        for c in CLASSES
        for n, (width, height) in enumerate(sides)
    }


def cut_out(class_name: str, number: int, split: str) -> bytes:
    """A picture on transparent, with rubbish below it."""
    alpha = np.zeros((16, 16, 1), np.uint8)
    alpha[2:14, 2:14] = 255
    below = np.where(alpha > 0, pixels(class_name, number, split=split), np.uint8(7))
    return encoded(np.concatenate([below, alpha], axis=2))


FOLDERS = [
    Layout("`train/<class>/*.png`, `test/<class>/*.png`", lambda: many(*SPLITS)),
    Layout(
        "`Training/<class>/`, `Testing/<class>/` below two folders",
        lambda: many("a/b/Training/{c}/{n}.png", "a/b/Testing/{c}/{n}.png"),
    ),
    Layout(
        "`train/`, `valid/` and `test/`, each with folders of classes",
        lambda: many(*SPLITS, "valid/{c}/{n}.png"),
    ),
    Layout("`train/` and `val/` alone", lambda: many(SPLITS[0], "val/{c}/{n}.png")),
    Layout(
        "`seg_train/seg_train/<class>/`, `seg_test/seg_test/<class>/`",
        lambda: many("seg_train/seg_train/{c}/{n}.png", "seg_test/seg_test/{c}/{n}.png"),
    ),
    Layout("`<class>/*.png`", lambda: many("{c}/{n}.png", count=5)),
    Layout(
        "`<class>/train_0.png`, `<class>/test_0.png`",
        lambda: many("{c}/train_{n}.png", "{c}/test_{n}.png"),
    ),
    Layout(
        "`<class>/train/*.png`, `<class>/test/*.png`, a stray image in a class",
        lambda: (
            many("{c}/train/{n}.png", "{c}/test/{n}.png")
            | {"cat/a.png": image("cat", 99, split="none")}
        ),
    ),
    Layout(
        "the same, and one class without `train/` and `test/`",
        lambda: (
            many("{c}/train/{n}.png", "{c}/test/{n}.png") | many("{c}/{n}.png", classes=["cow"])
        ),
    ),
    Layout(
        "classes called `train` and `test` within splits",
        lambda: many(*SPLITS, classes=("train", "test")),
    ),
    Layout("Tiny ImageNet as distributed", tiny_imagenet),
    Layout(
        "traffic signs of Kaggle: classes in `Test.csv`, beside corners of boxes", traffic_signs
    ),
    Layout("`test/` alone", lambda: many(SPLITS[1])),
    Layout(
        "`train/`, `val/` and `Valid/`",
        lambda: many(SPLITS[0], "val/{c}/{n}.png", "Valid/{c}/{n}.png"),
    ),
    Layout(
        "a test class without training images",
        lambda: many(*SPLITS) | many("test/{c}/{n}.png", classes=["cow"]),
    ),
    Layout(
        "`masks/` beside `cat/` and `dog/`",
        lambda: many("{c}/{n}.png", classes=(*CLASSES, "masks")),
    ),
    Layout(
        "`unlabeled/` beside the classes of `train/`",
        lambda: many(*SPLITS) | many("train/{c}/{n}.png", classes=["unlabeled"]),
    ),
    Layout(
        "`train/images/` and `train/masks/` with the same names",
        lambda: many("train/{c}/{n}.png", "test/{c}/{n}.png", classes=("images", "masks")),
    ),
    Layout(
        "YOLO: `train/images/`, `train/labels/*.txt` with boxes", lambda: boxes("0 .5 .5 .2 .2")
    ),
    Layout("the same with captions instead of boxes", lambda: boxes("a photo of a dog")),
    Layout(
        "folders in folders of classes",
        lambda: many("animal/{c}/{n}.png") | many("thing/{c}/{n}.png", classes=("car", "bus")),
    ),
    Layout(
        "Office-31: `amazon/images/<class>/`, `dslr/images/<class>/`",
        lambda: many("amazon/images/{c}/{n}.jpg", "dslr/images/{c}/{n}.jpg"),
    ),
    Layout(
        "`fold_1/train/<class>/`, `fold_1/test/<class>/`, `fold_2/…`",
        lambda: many(*(f"fold_{k}/{path}" for k in (1, 2) for path in SPLITS)),
    ),
    Layout(
        "the same, told to take the first",
        lambda: many(*(f"fold_{k}/{path}" for k in (1, 2) for path in SPLITS)),
        settings={"split": "fold_1"},
    ),
    Layout(
        "`train_1/<class>/`, `test_1/<class>/`, `train_2/…` with the same images",
        lambda: {
            f"{split}_{fold}/{c}/{n}.png": image(c, n)
            for fold in (1, 2)
            for c in CLASSES
            for n in range(6)
            for split in ("test" if n % 2 == fold - 1 else "train",)
        },
        pictures=False,
    ),
    Layout(
        "the same with other images in each",
        lambda: many(*(f"{s}_{k}/{{c}}/{k}{{n}}.png" for s in ("train", "test") for k in (1, 2))),
    ),
    Layout(
        "`fold_1/<class>/`, `fold_2/<class>/`",
        lambda: many("fold_1/{c}/{n}.png") | many("fold_2/{c}/1{n}.png"),
    ),
    Layout("`cat.0.jpg`, `dog.0.jpg`, … in one folder", lambda: many("{c}.{n}.jpg")),
    Layout("`1.png`, `2.png`, … in one folder", flat),
    Layout("`train/*.png`, `test/*.png`", lambda: flat("train/{n}.png") | flat("test/{n}.png")),
    Layout(
        "`cat_train/*.png`, `cat_test/*.png`, `dog_train/*.png`, …",
        lambda: many("{c}_train/{n}.png", "{c}_test/{n}.png"),
    ),
    Layout(
        "a film and a file without ending in folders of classes",
        lambda: many(*SPLITS) | {"train/cat/a.mp4": b"", "train/dog/7": b""},
    ),
    Layout(
        "the same tree twice, `x/train/` and `x/x/train/`",
        lambda: many("x/train/{c}/{n}.png", "x/x/train/{c}/{n}.png"),
    ),
    Layout(
        "`@eaDir`, `__MACOSX`, `Thumbs.db` and the like",
        lambda: (
            many(*SPLITS)
            | {
                "train/@eaDir/a.png": image("cat", 99, split="none"),
                "__MACOSX/b.png": b"",
                "train/Thumbs.db": b"",
            }
        ),
    ),
]

FILES = [
    Layout("images of many sizes", lambda: sizes((16, 16), (20, 18), (32, 30))),
    Layout("photos of 1600 × 1200", lambda: sizes((1600, 1200))),
    Layout(
        "images of which many are far longer than high",
        lambda: sizes((20, 20), (64, 20), (90, 20)),
        pictures=False,
    ),
    Layout("one damaged file", lambda: one_of("train/cat/0.png", b"\x89PNG and nothing more")),
    Layout(
        "the same, told to leave it out",
        lambda: one_of("train/cat/0.png", b"\x89PNG and nothing more"),
        settings={"on_damaged": "skip"},
    ),
    Layout("one HEIC", lambda: one_of("train/cat/0.heic", b"....ftypheic")),
    Layout(
        "pictures on transparent",
        lambda: {
            f"{s}/{c}/{n}.png": cut_out(c, n, s)
            for s in ("train", "test")
            for c in CLASSES
            for n in range(4)
        },
    ),
    Layout("16-bit gray that fills 12 bits", lambda: values(4000, 3900), pictures=False),
    Layout("16-bit gray up to 300", lambda: values(300, 200), pictures=False),
    Layout("8-bit gray of 0 and 1", lambda: values(1, 1, dtype=np.uint8), pictures=False),
]
