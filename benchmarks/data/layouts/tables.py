"""Image files with tables and lists beside them."""

from __future__ import annotations

import json
from collections.abc import Callable

from benchmarks.data.layouts.parts import (
    CLASSES,
    Files,
    Layout,
    flat,
    image,
    kind,
    lines,
    many,
    table,
)

COUNT = 12


def labelled(
    head: list[str],
    *columns: object,
    name: str = "labels.csv",
    split: Callable[[int], str] = lambda number: "",
) -> Files:
    """Images in one folder and a table whose columns are functions of the number of an image.
    `split` is what the table says of it."""
    rows = [[c(n) if callable(c) else c for c in columns] for n in range(COUNT)]
    return flat(split=split) | {name: table(head, *rows)}


def png(number: int) -> str:
    """The name of an image."""
    return f"{number}.png"


def split_of(number: int) -> str:
    """The split of an image."""
    return "test" if number % 4 > 1 else "train"


def lists(rest: str = "none", **own: range) -> Files:
    """Folders of classes beside lists of images; `rest` is the split of those that none lists."""
    listed = {n: name.split("ing")[0] for name, numbers in own.items() for n in numbers}
    files = {
        f"images/{c}/{n}.png": image(c, n, split=listed.get(n, rest))
        for c in CLASSES
        for n in range(6)
    }
    return files | {
        f"{name}.txt": lines(f"{c}/{n}.png" for c in CLASSES for n in numbers)
        for name, numbers in own.items()
    }


def numbered_lists() -> Files:
    """Two published splits of the same images."""
    files = many("images/{c}/{n}.png", count=6)
    own = {"train1": range(4), "test1": range(4, 6), "train2": range(2, 6), "test2": range(2)}
    return files | {
        f"{name}.txt": lines(f"{c}/{n}.png" for c in CLASSES for n in numbers)
        for name, numbers in own.items()
    }


def other_names() -> Files:
    """A row number that fits the names of other images."""
    rows = [[n, png(other), kind(other)] for n in range(COUNT) for other in [(n * 5 + 3) % COUNT]]
    return flat() | {"labels.csv": table(["", "filename", "label"], *rows)}


TABLES = [
    Layout("`labels.csv` with `file` and `label`", lambda: labelled(["file", "label"], png, kind)),
    Layout(
        "the same, with a `split` of train and test",
        lambda: labelled(["file", "label", "split"], png, kind, split_of, split=split_of),
    ),
    Layout(
        "`split` is blank for some",
        lambda: labelled(
            ["file", "label", "split"],
            png,
            kind,
            lambda n: split_of(n) if n < 10 else "",
            split=lambda n: split_of(n) if n < 10 else "none",
        ),
    ),
    Layout(
        "`is_test` of 0 and 1",
        lambda: labelled(
            ["file", "label", "is_test"], png, kind, lambda n: int(n % 4 > 1), split=split_of
        ),
    ),
    Layout(
        "CelebA's `partition` of 0, 1 and 2",
        lambda: labelled(
            ["file", "label", "partition"],
            png,
            kind,
            lambda n: "00001122"[n % 8],
            split=lambda n: {"0": "train", "1": "val", "2": "test"}["00001122"[n % 8]],
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
        "`labels.json`: the class by the name of each file",
        lambda: (
            flat() | {"labels.json": json.dumps({f"{n}.png": kind(n) for n in range(12)}).encode()}
        ),
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
    Layout(
        "Speech Commands: `testing_list.txt` alone",
        lambda: lists("train", testing_list=range(4, 6)),
    ),
    Layout("`train.txt` alone", lambda: lists(train=range(4))),
    Layout(
        "`train1.txt`, `test1.txt`, `train2.txt`, `test2.txt`",
        numbered_lists,
    ),
    Layout("`train_list.mat`", lambda: many("{c}/{n}.png") | {"train_list.mat": b"MATLAB 5.0"}),
    Layout(
        "ids from 1, files from `0.png`",
        lambda: (
            flat()
            | {"labels.csv": table(["id", "label"], *([n + 1, kind(n)] for n in range(COUNT)))}
        ),
    ),
    Layout(
        "`0.png` in `part_1/` and in `part_2/`, and a table that says `0.png`",
        lambda: (
            flat("part_1/{n}.png")
            | flat("part_2/{n}.png", 3)
            | {"labels.csv": table(["file", "label"], *([png(n), kind(n)] for n in range(COUNT)))}
        ),
    ),
    Layout(
        "`classes.txt` beside folders of classes",
        lambda: many("train/{c}/{n}.png", "test/{c}/{n}.png") | {"classes.txt": b"dog\ncat\n"},
    ),
]
