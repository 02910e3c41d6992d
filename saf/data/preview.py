"""What a data set looks like: one picture with samples of each class, and a few figures.

    python -m saf.data.preview NAME FOLDER    writes those of a built-in data set

The picture is a sheet: a row for each class, a column for each sample. Series, and event frames of
one pixel, are curves or a map of time and channel, see `saf.data.curves`; features stand side by
side. Of event frames there are several sheets in it, side by side and then below one another: first
all steps together, then step by step. Colours are transparent where nothing is, so that it fits a
light and a dark page.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from saf.data import curves
from saf.data.builtin import BUILTIN
from saf.data.dataset import Array, Dataset
from saf.data.statistics import Statistics

IMAGE_CLASSES, IMAGE_SAMPLES, IMAGE_SIDE = 24, 10, 96
EVENT_CLASSES, EVENT_SAMPLES, EVENT_SIDE = 10, 3, 64
SERIES_CLASSES, SERIES_SAMPLES = 24, 5
MAX_FRAMES = 32
SHEET_WIDTH = 4096  # pixels up to which sheets lie side by side
SAMPLED = 512  # training samples that the figures are computed of
BINS = 32
FEATURE_DEVIATIONS = 2.0  # from the mean to black and to white
OFF = (214, 104, 24)  # orange: channel 0 of event frames
ON = (47, 125, 225)  # blue: channel 1
Pixels = NDArray[np.uint8]
"""`H W 4`: red, green, blue, opacity."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A picture of a data set, and where everything is on it."""

    picture: bytes
    """PNG."""
    layout: dict[str, Any]
    """JSON values: `tile` [height, width] of a sample on the picture, `gap` pixels after each,
    `rows` (the class of each), `columns`, `steps` (of event frames: the time steps shown, from 1;
    else null), `across` (sheets side by side), `width`, `height`, `channels` (what colours mean),
    `histogram` (share of the values of images in 32 equal parts of [0, 1]; else null) and
    `activity` (of event frames: mean events of a sample in each step, of each channel, or of all
    where they have a single pixel; else null)."""


def preview(dataset: Dataset) -> Preview:
    """The preview of a data set; the same picture for the same data. Memory stays bounded."""
    in_time = _has_no_place(dataset)
    events = dataset.is_events and not in_time
    most = IMAGE_CLASSES, IMAGE_SAMPLES
    if in_time:
        most = SERIES_CLASSES, SERIES_SAMPLES
    elif events:
        most = EVENT_CLASSES, EVENT_SAMPLES
    rows = [
        (label, _spread(np.flatnonzero(dataset.y_train == label), most[1]))
        for label in range(min(dataset.classes, most[0]))
    ]
    _, height, width = dataset.sample_shape
    factor = math.ceil(max(height, width) / (EVENT_SIDE if events else IMAGE_SIDE))
    tile = (math.ceil(height / factor), math.ceil(width / factor))
    if in_time:
        tile = curves.HEIGHT, curves.WIDTH
    statistics = dataset.channel_statistics() if dataset.are_features else None
    if statistics is not None:
        tile = math.ceil(dataset.sample_shape[0] / 8), dataset.sample_shape[0]
    steps = _spread(np.arange(dataset.timesteps or 0), MAX_FRAMES)
    columns = max((len(samples) for _, samples in rows), default=1) or 1
    sheets = _Sheets(tile, len(rows), columns, 1 + len(steps) if events else 1)
    scale = brightest(dataset.x_train[[i for _, chosen in rows for i in chosen][:1]])
    ends = _ends(dataset, [index for _, chosen in rows for index in chosen])
    for row, (_, samples) in enumerate(rows):
        for column, index in enumerate(samples):
            if in_time:
                picture = curves.series_pixels(_in_time(dataset, index), *ends, dataset.timesteps)
                sheets.put(0, row, column, picture)
                continue
            if statistics is not None:
                features = dataset.x_train[index] / dataset.unit
                sheets.put(0, row, column, _features(features, statistics, tile))
                continue
            if not events:
                sheets.put(0, row, column, _image(dataset.x_train[index], factor))
                continue
            frames = dataset.x_train[index]
            together = np.asarray(frames.sum(axis=0, dtype=np.float32))
            sheets.put(0, row, column, frame_pixels(together, factor, 2 * scale))
            for sheet, step in enumerate(steps, start=1):
                sheets.put(sheet, row, column, frame_pixels(frames[step], factor, scale))
    return Preview(
        picture=sheets.png(),
        layout={
            "tile": list(tile),
            "gap": sheets.gap,
            "rows": [label for label, _ in rows],
            "columns": columns,
            "steps": [int(step) + 1 for step in steps] if events else None,
            "across": sheets.across,
            "width": sheets.pixels.shape[1],
            "height": sheets.pixels.shape[0],
            "channels": _channels(dataset),
            "histogram": _histogram(dataset) if dataset.kind == "images" else None,
            "activity": _activity(dataset) if dataset.is_events else None,
        },
    )


class _Sheets:
    """The picture while it is put together."""

    def __init__(self, tile: tuple[int, int], rows: int, columns: int, sheets: int) -> None:
        self.gap = max(1, max(tile) // 16)
        self._pitch = (tile[0] + self.gap, tile[1] + self.gap)
        self._size = (rows * self._pitch[0], columns * self._pitch[1])
        self.across = max(1, min(sheets, SHEET_WIDTH // self._size[1]))
        down = math.ceil(sheets / self.across)
        self.pixels: Pixels = np.zeros(
            (down * self._size[0], self.across * self._size[1], 4), np.uint8
        )

    def put(self, sheet: int, row: int, column: int, tile: Pixels) -> None:
        top = sheet // self.across * self._size[0] + row * self._pitch[0]
        left = sheet % self.across * self._size[1] + column * self._pitch[1]
        self.pixels[top : top + tile.shape[0], left : left + tile.shape[1]] = tile

    def png(self) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self.pixels).save(buffer, "PNG", optimize=True)
        return buffer.getvalue()


def _spread(indices: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most that many of them, from all over."""
    if len(indices) <= most:
        return indices
    chosen: NDArray[np.int64] = indices[np.linspace(0, len(indices) - 1, most).round().astype(int)]
    return chosen


def _image(x: Array, factor: int) -> Pixels:
    """An image `C H W` as pixels: three channels or more in colour, else the first in gray."""
    shown = x[:3] if len(x) >= 3 else x[:1].repeat(3, axis=0)
    values = shown.astype(np.float32) * (1.0 if x.dtype == np.uint8 else 255.0)
    mean = _blocks(values, factor) / _blocks(np.ones_like(values), factor)
    pixels = np.full((*mean.shape[1:], 4), 255, np.uint8)
    pixels[..., :3] = np.moveaxis(mean, 0, -1).round().astype(np.uint8)
    return pixels


def _features(x: Array, statistics: Statistics, tile: tuple[int, int]) -> Pixels:
    """Features `C 1 1` side by side in gray, each by its own mean and deviation."""
    own = (x[:, 0, 0] - statistics.mean) / statistics.deviation
    gray = 127.5 * (1 + np.clip(own / FEATURE_DEVIATIONS, -1, 1))
    pixels = np.full((*tile, 4), 255, np.uint8)
    pixels[..., :3] = gray.round()[None, :, None]
    return pixels


def frame_pixels(x: Array, factor: int, scale: float) -> Pixels:
    """An event frame `C H W`: the colour says which channel, the opacity how many events."""
    counts = _blocks(x.astype(np.float32), factor)
    off, on = (counts[0], counts[1]) if len(counts) == 2 else (np.zeros(1), counts.sum(axis=0))
    total = off + on
    share = (on / np.maximum(total, 1e-9))[..., np.newaxis]
    pixels = np.zeros((*total.shape, 4), np.uint8)
    pixels[..., :3] = (share * ON + (1 - share) * np.array(OFF)).round()
    opacity = 255 * np.minimum(total / scale, 1.0) ** 0.5
    pixels[..., 3] = np.where(total > 0, np.maximum(opacity, 60), 0).round()
    pixels[total <= 0] = 0  # equal pixels compress to nothing
    return pixels


def _blocks(x: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """`C H W` with the sums over squares of `factor` pixels; those at the edge may be smaller."""
    if factor == 1:
        return x
    rows = np.add.reduceat(x, np.arange(0, x.shape[1], factor), axis=1)
    sums: NDArray[np.float32] = np.add.reduceat(rows, np.arange(0, x.shape[2], factor), axis=2)
    return sums


def brightest(sample: Array) -> float:
    """A count of events that is high for the data: what is above is not told apart."""
    counts = sample[sample > 0]
    return float(np.percentile(counts, 95)) if len(counts) else 1.0


def _has_no_place(dataset: Dataset) -> bool:
    """Whether samples are values of channels in time: series, and event frames of one pixel."""
    return dataset.kind != "images" and dataset.sample_shape[1:] == (1, 1)


def _in_time(dataset: Dataset, index: int) -> Array:
    """A sample that has no place as T C, until its end."""
    x: Array = dataset.x_train[index]
    own = None if dataset.lengths_train is None else dataset.lengths_train[index]
    return x.reshape(x.shape[:2])[:own]


def _ends(dataset: Dataset, shown: Sequence[int]) -> tuple[Array, Array]:
    """The lowest and the highest value of each channel of series that are shown: (C), (C)."""
    if not _has_no_place(dataset):
        return np.zeros(0), np.zeros(0)
    samples = [_in_time(dataset, index) for index in shown]
    lowest = np.min([x.min(axis=0) for x in samples], axis=0)
    return lowest, np.max([x.max(axis=0) for x in samples], axis=0)


def _channels(dataset: Dataset) -> str:
    count = dataset.sample_shape[0]
    if _has_no_place(dataset):
        return curves.meaning(count)
    if dataset.are_features:
        return f"{count} features side by side, brighter where above their mean"
    if dataset.is_events:
        return (
            "orange: channel 0, blue: channel 1"
            if count == 2
            else "all channels together"
            if count > 1
            else "one channel"
        )
    if count == 1:
        return "gray"
    if count == 2:
        return "channel 0 of 2"
    return "red, green, blue" if count == 3 else f"channels 0 to 2 of {count} as red, green, blue"


def _sampled(dataset: Dataset) -> Sequence[int]:
    return [int(i) for i in _spread(np.arange(len(dataset.x_train)), SAMPLED)]


def _histogram(dataset: Dataset) -> list[float]:
    counts = np.zeros(BINS, np.int64)
    unit = 255.0 if dataset.x_train.dtype == np.uint8 else 1.0
    for index in _sampled(dataset):
        part, _ = np.histogram(dataset.x_train[index] / unit, BINS, (0.0, 1.0))
        counts += part
    shares: list[float] = (counts / counts.sum()).round(6).tolist()
    return shares


def _activity(dataset: Dataset) -> list[list[float]]:
    chosen = _sampled(dataset)
    total = np.zeros(dataset.x_train.shape[1:3], np.float64)
    for index in chosen:
        total += dataset.x_train[index].sum(axis=(2, 3), dtype=np.float64)
    if _has_no_place(dataset):
        total = total.sum(axis=1, keepdims=True)
    means: list[list[float]] = (total / len(chosen)).round(4).tolist()
    return means


def main(arguments: Sequence[str] | None = None) -> int:
    """Write picture, layout and summary of a built-in data set; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m saf.data.preview")
    parser.add_argument("name", choices=tuple(BUILTIN))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    dataset = BUILTIN[options.name]()
    made = preview(dataset)
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / f"{options.name}.png").write_bytes(made.picture)
    described = {"summary": dataset.summary(), "layout": made.layout}
    text = json.dumps(described, indent=1, allow_nan=False) + "\n"
    (options.folder / f"{options.name}.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
