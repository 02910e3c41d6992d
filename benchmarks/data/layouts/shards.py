"""Images with labels beside them in shards: WebDataset, Parquet of the Hugging Face hub."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

from benchmarks.data.layouts.parts import CLASSES, Files, Layout, image, kind
from benchmarks.data.layouts.tables import split_of

COUNT = 12


def number(of: int) -> int:
    """The class of an image as a number."""
    return CLASSES.index(kind(of))


def shard(*parts: str, split: Callable[[int], str] | None = None) -> Files:
    """A WebDataset: images by the parts, and a `.json` with the class and perhaps the split."""
    files = {}
    for n in range(COUNT):
        said = {} if split is None else {"split": split(n)}
        files[f"{n:03}.json"] = json.dumps({"label": kind(n)} | said).encode()
        for k, part in enumerate(parts):
            files[f"{n:03}.{part}"] = image(kind(n), n + COUNT * k, split=said.get("split", ""))
    return files


def parquet(split: Callable[[int], str] | None = None, **columns: Callable[[int], Any]) -> Files:
    """A table with a column of images, and others whose values are by number of an image. `split`
    is what one of them says."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    marks = [split(n) if split else "" for n in range(COUNT)]
    blobs = [image(kind(n), n, split=mark) for n, mark in enumerate(marks)]
    fields = {"image": pa.array([{"bytes": blob, "path": None} for blob in blobs])}
    fields |= {name: pa.array([value(n) for n in range(COUNT)]) for name, value in columns.items()}
    buffer = io.BytesIO()
    pq.write_table(pa.table(fields), buffer)
    return {"data.parquet": buffer.getvalue()}


def table(words: str, split: Callable[[int], str] | None = None, **columns: Any) -> Layout:
    """A layout of one file of Parquet."""
    return Layout(words, lambda: parquet(split, **columns), "data.parquet")


SHARDS = [
    Layout("WebDataset: `000.png`, `000.json` with `label`", lambda: shard("png"), "data.tar"),
    Layout(
        "the same, with `split` in the `.json`", lambda: shard("png", split=split_of), "data.tar"
    ),
    Layout(
        "a `.cls` that contradicts the `.json`",
        lambda: {**shard("png"), **{f"{n:03}.cls": b"%d" % (n % 3) for n in range(COUNT)}},
        "data.tar",
    ),
    Layout(
        "`000.left.png` and `000.right.png`", lambda: shard("left.png", "right.png"), "data.tar"
    ),
    Layout(
        "the same, told to take the right one",
        lambda: shard("left.png", "right.png"),
        "data.tar",
        settings={"images_from": "right.png"},
    ),
    table("Parquet: `image`, `label` of texts", label=kind),
    table(
        "the same, with a column `subset` of train and test", split_of, label=kind, subset=split_of
    ),
    table("the same, with `fold` of 0, 1 and 2", label=kind, fold=lambda n: n // 2 % 3),
    Layout(
        "Parquet with labels of floats, 0.0 and 1.0",
        lambda: parquet(label=lambda n: float(number(n))),
        "data.parquet",
        pictures=False,
    ),
    table("Parquet with lists of labels", label=lambda n: [number(n)]),
]
