"""Data sets that nobody chose for the purpose, small enough to train on by the dozen.

All are made from a seed; shapes as in `saf.data.dataset`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saf.data import Dataset, digits

Pixels = NDArray[np.uint8]
FASHION = "/usr/share/datasets/fashion-mnist"
"""Where Debian's package `dataset-fashion-mnist` puts its IDX files."""


def shapes(train: int = 240, test: int = 80, *, side: tuple[int, int] = (32, 32)) -> Dataset:
    """Circles, squares, triangles and crosses, bright on dark, about the middle, with noise."""
    return _split(_shape, 4, train, test, side, seed=1)


def uneven() -> Dataset:
    """60 and 30 images of two classes, five sixths of them circles."""
    return _split(_shape, 2, 60, 30, (32, 32), seed=5, label_of=lambda i: (i % 6 == 5).astype(int))


def hundred() -> Dataset:
    """100 classes with five images each and two to test: a stripe pattern for each class."""
    return _split(_stripes, 100, 500, 200, (16, 16), seed=2)


def bars(train: int = 200, test: int = 80) -> Dataset:
    """Event frames `N 10 2 16 16` of a bar that moves up, down, left or right."""
    return _split(_bar, 4, train, test, (16, 16), seed=3)


def thin(train: int = 240, test: int = 80) -> Dataset:
    """Signals of 1 × 64 pixels: a bump, a dip, a step up or a step down at a random place."""
    return _split(_signal, 4, train, test, (1, 64), seed=4)


def tall() -> Dataset:
    """`shapes` on images of 95 × 50 pixels."""
    return shapes(side=(95, 50))


DRAWN: Mapping[str, Callable[[], Dataset]] = {
    "digits": digits,
    "shapes": shapes,
    "uneven": uneven,
    "hundred": hundred,
    "bars": bars,
    "thin": thin,
    "tall": tall,
}


def subset(data: Dataset, train: int, test: int) -> Dataset:
    """`data`, whose classes are in no regular order, with so many samples, spread evenly."""
    rows = {
        "train": np.arange(train) * len(data.y_train) // train,
        "test": np.arange(test) * len(data.y_test) // test,
    }
    return Dataset(
        x_train=np.ascontiguousarray(data.x_train[rows["train"]]),
        y_train=data.y_train[rows["train"]],
        x_test=np.ascontiguousarray(data.x_test[rows["test"]]),
        y_test=data.y_test[rows["test"]],
        class_names=data.class_names,
    )


def _split(
    draw: Callable[[np.random.Generator, int, tuple[int, int]], Pixels],
    classes: int,
    train: int,
    test: int,
    side: tuple[int, int],
    *,
    seed: int,
    label_of: Callable[[NDArray[np.int64]], NDArray[np.int64]] | None = None,
) -> Dataset:
    generator = np.random.default_rng(seed)
    made: dict[str, Any] = {}
    for name, count in (("train", train), ("test", test)):
        order = np.arange(count)
        y = (order % classes if label_of is None else label_of(order)).astype(np.int64)
        made[f"x_{name}"] = np.stack([draw(generator, int(label), side) for label in y])
        made[f"y_{name}"] = y
    return Dataset(**made, class_names=tuple(f"class {number}" for number in range(classes)))


def _shape(generator: np.random.Generator, label: int, side: tuple[int, int]) -> Pixels:
    height, width = side
    row, column = np.mgrid[:height, :width].astype(float)
    radius = generator.uniform(0.24, 0.36) * min(side)
    y = height / 2 + generator.uniform(-0.16, 0.16) * height
    x = width / 2 + generator.uniform(-0.16, 0.16) * width
    dy, dx = row - y, column - x
    inside = (
        dy**2 + dx**2 < radius**2,
        (abs(dy) < 0.85 * radius) & (abs(dx) < 0.85 * radius),
        (dy > -radius) & (dy < radius) & (abs(dx) < (dy + radius) / 2),
        ((abs(dy) < radius / 4) | (abs(dx) < radius / 4)) & (abs(dy) < radius) & (abs(dx) < radius),
    )[label]
    ground, ink = generator.uniform(10, 110, 3), generator.uniform(130, 245, 3)
    image = np.where(inside, ink[:, None, None], ground[:, None, None])
    noisy = image + generator.normal(0, 30, image.shape)
    return _pixels(noisy)


def _stripes(generator: np.random.Generator, label: int, side: tuple[int, int]) -> Pixels:
    height, width = side
    row, column = np.mgrid[:height, :width]
    direction, period = divmod(label, 10)
    angle = np.pi * direction / 10
    phase = generator.uniform(0, 2 * np.pi)
    wave = np.sin((np.cos(angle) * row + np.sin(angle) * column) * (0.4 + 0.25 * period) + phase)
    noisy = 128 + 90 * wave + generator.normal(0, 15, wave.shape)
    return _pixels(noisy)[None]


def _bar(generator: np.random.Generator, label: int, side: tuple[int, int]) -> Pixels:
    frames = np.zeros((10, 2, *side), np.uint8)
    start = int(generator.integers(0, 4))
    for step in range(10):
        place = (
            (start + step) % side[0] if label % 2 == 0 else (side[0] - 1 - start - step) % side[0]
        )
        across = slice(*sorted(generator.integers(0, side[1], 2) + np.array([0, 1])))
        for polarity, offset in ((0, 0), (1, -1)):
            line = (place + offset) % side[0]
            where = (line, across) if label < 2 else (across, line)
            frames[step, polarity][where] = 255
    noise = generator.random(frames.shape) < 0.02
    frames[noise] = 255
    return frames


def _signal(generator: np.random.Generator, label: int, side: tuple[int, int]) -> Pixels:
    place, width = generator.uniform(12, 52), generator.uniform(2, 6)
    t = np.arange(side[1])
    bump = 90 * np.exp(-((t - place) ** 2) / (2 * width**2))
    step = 45 * np.tanh((t - place) / width)
    value = 128 + (bump, -bump, step, -step)[label] + generator.normal(0, 12, side[1])
    return _pixels(value)[None, None]


def _pixels(values: NDArray[np.float64]) -> Pixels:
    pixels: Pixels = np.clip(values, 0, 255).astype(np.uint8)
    return pixels
