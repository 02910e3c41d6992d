"""Image files in folders, with tables and lists beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.layouts.parts import (
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
        files[f"{top}/val/images/val_{n}.JPEG"] = image(names[n % 2], n)
        files[f"{top}/test/images/test_{n}.JPEG"] = image(names[0], n)
        rows.append(f"val_{n}.JPEG\t{names[n % 2]}\t0\t0\t{n}\t9")
    return files | {f"{top}/val/val_annotations.txt": lines(rows)}


def traffic_signs() -> Files:
    """GTSRB as Kaggle has it."""
    classes = [str(c) for c in range(6)]
    files = many("Train/{c}/{c}_{n}.png", count=3, classes=classes)
    head = ["Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId", "Path"]
    rows = [[16, 16, (n + 2) % 6, 3, 14, 14, n % 6, f"Test/{n:05}.png"] for n in range(COUNT)]
    files |= {f"Test/{n:05}.png": image(str(n % 6), n) for n in range(COUNT)}
    return files | {"Test.csv": table(head, *rows)}


def labelled(head: list[str], *columns: object, name: str = "labels.csv") -> Files:
    """Images in one folder and a table whose columns are functions of the number of an image."""
    rows = [[c(n) if callable(c) else c for c in columns] for n in range(COUNT)]
    return flat() | {name: table(head, *rows)}


def png(number: int) -> str:
    """The name of an image."""
    return f"{number}.png"


def split_of(number: int) -> str:
    """The split of an image."""
    return "test" if number % 4 > 1 else "train"


def lists(**own: range) -> Files:
    """Folders of classes beside lists of images."""
    files = many("images/{c}/{n}.png", count=6)
    return files | {
        f"{name}.txt": lines(f"{c}/{n}.png" for c in CLASSES for n in numbers)
        for name, numbers in own.items()
    }


def other_names() -> Files:
    """A row number that fits the names of other images."""
    rows = [[n, png(other), kind(other)] for n in range(COUNT) for other in [(n * 5 + 3) % COUNT]]
    return flat() | {"labels.csv": table(["", "filename", "label"], *rows)}


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
        f"{s}/{c}/{n}.png": image(c, n, height, width)
        for s in ("train", "test")
        for c in CLASSES
        for n, (width, height) in enumerate(sides)
    }


def cut_out(class_name: str, number: int) -> bytes:
    """A picture on transparent, with rubbish below it."""
    alpha = np.zeros((16, 16, 1), np.uint8)
    alpha[2:14, 2:14] = 255
    below = np.where(alpha > 0, pixels(class_name, number), np.uint8(7))
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
        "`<class>/train/*.png`, `<class>/test/*.png`, a stray image in a class",
        lambda: many("{c}/train/{n}.png", "{c}/test/{n}.png") | {"cat/a.png": image("cat")},
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
            | {"train/@eaDir/a.png": image("cat"), "__MACOSX/b.png": b"", "train/Thumbs.db": b""}
        ),
    ),
]

TABLES = [
    Layout("`labels.csv` with `file` and `label`", lambda: labelled(["file", "label"], png, kind)),
    Layout(
        "the same, with a `split` of train and test",
        lambda: labelled(["file", "label", "split"], png, kind, split_of),
    ),
    Layout(
        "`split` is blank for some",
        lambda: labelled(
            ["file", "label", "split"], png, kind, lambda n: split_of(n) if n < 10 else ""
        ),
    ),
    Layout(
        "`is_test` of 0 and 1",
        lambda: labelled(["file", "label", "is_test"], png, kind, lambda n: int(n % 4 > 1)),
    ),
    Layout(
        "CelebA's `partition` of 0, 1 and 2",
        lambda: labelled(
            ["file", "label", "partition"], png, kind, lambda n: [0, 0, 0, 0, 1, 1, 2, 2][n % 8]
        ),
    ),
    Layout(
        "`fold` of 1, 2 and 3",
        lambda: labelled(["file", "label", "fold"], png, kind, lambda n: 1 + n // 2 % 3),
    ),
    Layout("the number of a row, which fits names of other images, beside `filename`", other_names),
    Layout(
        "`filename`, `width`, `height`, `class`, `xmin` …: a row for each box",
        lambda: (
            flat()
            | {
                "boxes.csv": table(
                    ["filename", "class", "xmin", "ymin", "xmax", "ymax"],
                    *([png(n), CLASSES[b], 1, 1, 4, 4] for n in range(COUNT) for b in (0, 1)),
                )
            }
        ),
    ),
    Layout(
        "paths of another machine, `/kaggle/input/x/images/1.png`",
        lambda: labelled(["path", "label"], lambda n: f"/kaggle/input/x/images/{n}.png", kind),
    ),
    Layout(
        "ids without the zeros that files have",
        lambda: (
            flat("images/{n:05}.png")
            | {"labels.csv": table(["id", "label"], *([n, kind(n)] for n in range(COUNT)))}
        ),
    ),
    Layout(
        "folders `site 1`, `site 2` and a `label` that says other classes",
        lambda: (
            {f"site {1 + n % 4 // 2}/{n}.png": image(kind(n), n) for n in range(COUNT)}
            | {"labels.csv": table(["file", "label"], *([png(n), kind(n)] for n in range(COUNT)))}
        ),
    ),
    Layout(
        "an image in two rows with two classes",
        lambda: (
            flat()
            | {
                "labels.csv": table(
                    ["file", "label"], *([png(n), kind(n)] for n in range(COUNT)), [png(0), "dog"]
                )
            }
        ),
    ),
    Layout(
        "`file`, `x` and `y`",
        lambda: labelled(["file", "x", "y"], png, lambda n: n % 3, lambda n: n % 4),
    ),
    Layout(
        "HAM10000: `lesion_id`, `image_id`, `dx`, `age`, `sex`",
        lambda: labelled(
            ["lesion_id", "image_id", "dx", "age", "sex"],
            lambda n: f"L{n}",
            str,
            kind,
            lambda n: 40 + n % 3,
            lambda n: "mf"[n // 2 % 2],
            name="metadata.csv",
        ),
    ),
    Layout(
        "`age` and `sex` alone",
        lambda: labelled(
            ["file", "age", "sex"], png, lambda n: 40 + n % 3, lambda n: "mf"[n // 2 % 2]
        ),
    ),
    Layout(
        "two columns `label` that differ",
        lambda: labelled(["file", "label", "label"], png, kind, lambda n: n // 2 % 3),
    ),
    Layout(
        "a column for each class",
        lambda: labelled(
            ["file", *CLASSES], png, lambda n: int(n % 2 == 0), lambda n: int(n % 2 == 1)
        ),
    ),
    Layout(
        "captions, all different, under `label`",
        lambda: labelled(["file", "label"], png, lambda n: f"picture {n} of a cat"),
    ),
    Layout(
        "`metadata.jsonl` of the hub",
        lambda: (
            {f"train/{name}": blob for name, blob in flat("{n}.png").items()}
            | {
                "train/metadata.jsonl": lines(
                    {"file_name": png(n), "label": kind(n)} for n in range(COUNT)
                )
            }
        ),
    ),
    Layout(
        "Food-101: `train.txt`, `test.txt` beside folders of classes",
        lambda: lists(train=range(4), test=range(4, 6)),
    ),
    Layout("Speech Commands: `testing_list.txt` alone", lambda: lists(testing_list=range(4, 6))),
    Layout("`train.txt` alone", lambda: lists(train=range(4))),
    Layout(
        "`train1.txt`, `test1.txt`, `train2.txt`, `test2.txt`",
        lambda: lists(train1=range(4), test1=range(4, 6), train2=range(2, 6), test2=range(2)),
    ),
    Layout("`train_list.mat`", lambda: many("{c}/{n}.png") | {"train_list.mat": b"MATLAB 5.0"}),
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
            f"{s}/{c}/{n}.png": cut_out(c, n)
            for s in ("train", "test")
            for c in CLASSES
            for n in range(4)
        },
    ),
    Layout("16-bit gray that fills 12 bits", lambda: values(4000, 3900), pictures=False),
    Layout("16-bit gray up to 300", lambda: values(300, 200), pictures=False),
    Layout("8-bit gray of 0 and 1", lambda: values(1, 1, dtype=np.uint8), pictures=False),
]
