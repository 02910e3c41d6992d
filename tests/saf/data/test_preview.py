"""The picture that shows what a data set looks like."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saf.data import BUILTIN, Dataset
from saf.data.preview import OFF, ON, Preview, preview

SHIPPED = Path(__file__).parents[3] / "api" / "static" / "datasets" / "previews"


def pixels(made: Preview) -> Any:
    return np.asarray(Image.open(io.BytesIO(made.picture)))


def sample(made: Preview, row: int, column: int, sheet: int = 0) -> Any:
    """The pixels of one sample, found as a page finds them."""
    layout = made.layout
    height, width = layout["tile"]
    down, right = height + layout["gap"], width + layout["gap"]
    top = sheet // layout["across"] * len(layout["rows"]) * down + row * down
    left = sheet % layout["across"] * layout["columns"] * right + column * right
    return pixels(made)[top : top + height, left : left + width]


def images(classes: int, side: int, channels: int = 3) -> Dataset:
    generator = np.random.default_rng(0)
    count = 20 * classes
    x = generator.integers(0, 256, (count, channels, side, side), np.uint8)
    y = np.arange(count) % classes
    names = tuple(f"class {n}" for n in range(classes))
    return Dataset(x, y, x[:classes], y[:classes], names)


def events(steps: int, side: int = 5) -> Dataset:
    """One event a step, of channel 0 in even and of channel 1 in odd steps, along the diagonal."""
    x = np.zeros((4, steps, 2, side, side), np.float32)
    for step in range(steps):
        x[:, step, step % 2, step % side, step % side] = 1
    y = np.array([0, 1, 0, 1])
    return Dataset(x, y, x[:2], y[:2], ("left", "right"))


def test_each_row_holds_samples_of_its_class() -> None:
    dataset = images(classes=3, side=9)
    made = preview(dataset)
    assert made.layout["rows"] == [0, 1, 2]
    assert made.layout["columns"] == 10
    for row in range(3):
        own = dataset.x_train[dataset.y_train == row]
        for column in range(10):
            shown = np.moveaxis(sample(made, row, column)[..., :3], -1, 0)
            assert any((shown == x).all() for x in own)


def test_large_images_are_reduced_by_the_mean_of_squares() -> None:
    dataset = images(classes=2, side=200, channels=1)
    made = preview(dataset)
    assert made.layout["tile"] == [67, 67]  # thirds; the last one of a row sees two pixels
    first = dataset.x_train[0, 0].astype(float)
    shown = sample(made, 0, 0)[..., 0]
    assert shown[0, 0] == round(first[:3, :3].mean())
    assert shown[66, 66] == round(first[198:, 198:].mean())


def test_event_frames_have_a_sheet_for_each_step_and_a_colour_for_each_polarity() -> None:
    made = preview(events(steps=4))
    assert made.layout["steps"] == [1, 2, 3, 4]
    for step in range(4):
        frame = sample(made, 1, 0, sheet=step + 1)
        assert np.argwhere(frame[..., 3]).tolist() == [[step, step]]
        assert tuple(frame[step, step, :3]) == (OFF, ON)[step % 2]
    together = sample(made, 1, 0)
    assert np.argwhere(together[..., 3]).tolist() == [[n, n] for n in range(4)]
    assert made.layout["activity"] == [[1, 0], [0, 1], [1, 0], [0, 1]]


@pytest.mark.slow
def test_many_steps_and_classes_give_a_picture_of_bounded_size() -> None:
    long = preview(events(steps=500, side=130)).layout
    assert len(long["steps"]) == 32
    assert (long["steps"][0], long["steps"][-1]) == (1, 500)
    assert long["width"] <= 4096
    many = preview(images(classes=300, side=4)).layout
    assert many["rows"] == list(range(24))


def test_float_images_are_shown_as_the_same_images_in_bytes_are() -> None:
    dataset = images(classes=2, side=6)
    x = dataset.x_train.astype(np.float32) / 255
    same = Dataset(x, dataset.y_train, x[:2], dataset.y_train[:2], dataset.class_names)
    assert (pixels(preview(same)) == pixels(preview(dataset))).all()
    histogram = preview(same).layout["histogram"]
    assert sum(histogram) == pytest.approx(1, abs=1e-4)


def test_a_class_without_training_samples_has_an_empty_row() -> None:
    x = np.full((6, 1, 4, 4), 200, np.uint8)
    dataset = Dataset(x, np.zeros(6, np.int64), x, np.ones(6, np.int64), ("seen", "unseen"))
    made = preview(dataset)
    assert sample(made, 0, 0)[..., 3].all()
    assert not sample(made, 1, 0).any()


@pytest.mark.parametrize("name", BUILTIN)
def test_the_pictures_that_are_shipped_are_those_of_the_data(name: str) -> None:
    dataset = BUILTIN[name]()
    made = preview(dataset)
    shipped = json.loads((SHIPPED / f"{name}.json").read_text(encoding="utf-8"))
    assert shipped == {"summary": dataset.summary(), "layout": made.layout}
    picture = np.asarray(Image.open(SHIPPED / f"{name}.png"))
    assert (picture == pixels(made)).all()


def series(channels: int, steps: int = 40) -> Dataset:
    """Of class 0 a rise in the last channel, of class 1 a fall; other channels stay at −1."""
    x = np.full((4, steps, channels), -1.0, np.float32)
    x[::2, :, -1] = np.linspace(-3, 5, steps)
    x[1::2, :, -1] = np.linspace(5, -3, steps)
    y = np.array([0, 1, 0, 1])
    return Dataset(x, y, x[:2], y[:2], ("rise", "fall"))


def test_series_of_few_channels_are_curves_in_time() -> None:
    made = preview(series(channels=2))
    assert made.layout["steps"] is made.layout["histogram"] is made.layout["activity"] is None
    assert made.layout["channels"] == "time from left to right; blue: channel 0, orange: channel 1"
    for row, ends in ((0, (1.0, 0.0)), (1, (0.0, 1.0))):
        orange = (sample(made, row, 0) == (*OFF, 255)).all(axis=-1)
        height = orange.shape[0] - 1
        for column, end in ((0, ends[0]), (-1, ends[1])):
            assert np.flatnonzero(orange[:, column]).mean() == pytest.approx(end * height, abs=2)
        blue = (sample(made, row, 0) == (*ON, 255)).all(axis=-1)
        assert np.flatnonzero(blue.any(axis=1)).size == 1


@pytest.mark.parametrize("channels", [2, 6])
def test_a_series_is_drawn_until_its_end(channels: int) -> None:
    data = series(channels)
    x = data.x_train.copy()
    x[:, 20:] = 1000.0  # padding is on no scale
    ends = np.array([20, 20, 20, 20])
    short = Dataset(
        *(x, data.y_train, x[:2], data.y_test, data.class_names),
        lengths_train=ends,
        lengths_test=ends[:2],
    )
    picture = sample(preview(short), 1, 0)
    middle = picture.shape[1] // 2
    assert picture[:, middle - 1].any()
    assert not picture[:, middle:].any()
    assert picture[:, 0, 3].max() == 255  # of the map: the largest value that is its own


def test_series_of_many_channels_are_a_map_in_which_no_spike_is_lost() -> None:
    x = np.zeros((4, 1000, 700), np.float32)
    x[0, 500, 350] = 1
    y = np.array([0, 1, 0, 1])
    made = preview(Dataset(x, y, x[:2], y[:2], ("one spike", "none")))
    spike = sample(made, 0, 0)
    assert len(np.argwhere(spike[..., 3] == 255)) == 1
    (found,) = np.argwhere(spike[..., 3] == 255)
    assert found == pytest.approx(np.array(spike.shape[:2]) / 2, abs=1)
    assert not sample(made, 1, 0).any()
    assert made.layout["channels"].startswith("time from left to right, channels 0 to 699")


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 1), (65_536, 2)])
def test_series_of_any_length_have_a_picture(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    y = np.array([0, 1, 0, 1])
    assert pixels(preview(Dataset(x, y, x[:2], y[:2], ("a", "b")))).any()


def test_event_frames_of_one_pixel_are_a_map_of_time_and_channel() -> None:
    x = np.zeros((4, 100, 700, 1, 1), np.uint8)
    x[0, 50, 350] = 3
    x[:, 10, :2] = 1
    y = np.array([0, 1, 0, 1])
    made = preview(Dataset(x, y, x[:2], y[:2], ("one spike", "none"), unit=1))
    assert made.layout["steps"] is None
    assert np.shape(made.layout["activity"]) == (100, 1)
    assert made.layout["activity"][10] == [2.0]
    assert (sample(made, 0, 0)[31:34, 63:66, 3] == 255).any()
    assert not sample(made, 1, 0)[31:34, 63:66].any()


@pytest.mark.parametrize("unit", [1, 255])
def test_features_stand_side_by_side_each_by_its_own_mean(unit: int) -> None:
    """One varies by a thousandth of what the other does, and both are seen."""
    x: Any = np.array([[0.5, 0.4], [0.501, 0.8]] * 4, np.float32)[..., None, None]
    if unit == 255:
        x = np.array([[100, 20], [101, 200]] * 4, np.uint8)[..., None, None]
    y = np.arange(8) % 2
    made = preview(Dataset(x, y, x[:2], y[:2], ("a", "b"), unit=unit))
    assert made.layout["channels"].startswith("2 features side by side")
    tall, wide = made.layout["tile"]
    assert (tall, wide) == (1, 2)
    picture = np.asarray(Image.open(io.BytesIO(made.picture)))
    low, high = picture[0, :2, 0], picture[tall + made.layout["gap"], :2, 0]
    assert (low < 100).all()
    assert (high > 150).all()
