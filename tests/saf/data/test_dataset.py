"""What a data set is, and what it refuses to be."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from saf.data import Dataset, blocks
from saf.errors import DataError

Build = Callable[..., Dataset]


def test_images_and_event_frames_tell_their_shapes_apart(dataset: Build) -> None:
    images = dataset()
    assert (images.sample_shape, images.timesteps, images.is_events) == ((3, 4, 6), None, False)
    events = dataset(
        x_train=np.ones((10, 5, 2, 4, 6), np.float32), x_test=np.ones((4, 5, 2, 4, 6), np.float32)
    )
    assert (events.sample_shape, events.timesteps, events.is_events) == ((2, 4, 6), 5, True)
    assert events.classes == 2


@pytest.mark.parametrize("chunk", [1, 100, 2**22])
def test_channel_statistics_are_those_of_the_scaled_training_images_in_any_chunks(
    dataset: Build, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "VALUES", chunk)
    data = dataset()
    mean, deviation = data.channel_statistics()
    seen = data.x_train.astype(np.float64) / 255
    np.testing.assert_allclose(mean, seen.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(deviation, seen.std(axis=(0, 2, 3)), rtol=1e-6)
    assert mean.dtype == deviation.dtype == np.float32


def test_channel_statistics_of_event_frames_go_over_time_and_are_not_scaled(
    dataset: Build,
) -> None:
    x = np.random.default_rng(0).poisson(2.0, (10, 5, 2, 4, 6)).astype(np.float32)
    x[:, :, 1] *= 3
    mean, deviation = dataset(x_train=x, x_test=x[:4]).channel_statistics()
    np.testing.assert_allclose(mean, x.mean(axis=(0, 1, 3, 4)), rtol=1e-6)
    np.testing.assert_allclose(deviation, x.std(axis=(0, 1, 3, 4)), rtol=1e-5)


def test_deviation_of_a_constant_channel_is_not_zero(dataset: Build) -> None:
    x = np.full((10, 3, 4, 6), 200, np.uint8)
    assert dataset(x_train=x).channel_statistics()[1].min() == np.float32(1e-6)


def test_summary_is_json_and_counts_each_class(dataset: Build) -> None:
    summary = json.loads(json.dumps(dataset().summary(), allow_nan=False))
    assert summary["shape"] == [3, 4, 6]
    assert summary["timesteps"] is None
    assert summary["class_names"] == ["cat", "dög"]
    assert summary["counts"] == {
        "train": 10,
        "test": 4,
        "val": 0,
        "per_class": {"train": [5, 5], "test": [2, 2], "val": [0, 0]},
    }
    assert summary["dtype"] == "uint8"
    assert len(summary["mean"]) == len(summary["std"]) == 3


def test_a_validation_split_is_optional_and_counted(dataset: Build) -> None:
    assert dataset().splits == ("train", "test")
    data = dataset(x_val=VALIDATION, y_val=np.array([[1], [1]], np.uint8))
    assert data.splits == ("train", "test", "val")
    assert data.y_val is not None
    assert data.y_val.dtype == np.int64
    assert data.y_val.shape == (2,)
    counts = data.summary()["counts"]
    assert counts["val"] == 2
    assert counts["per_class"] == {"train": [5, 5], "test": [2, 2], "val": [0, 2]}


def test_labels_of_any_integer_type_become_int64(dataset: Build) -> None:
    data = dataset(y_train=(np.arange(10) % 2).astype(np.uint8)[:, np.newaxis])
    assert data.y_train.dtype == np.int64
    assert data.y_train.shape == (10,)


FLOATS = np.zeros((10, 3, 4, 6), np.float32)
EVENTS = np.zeros((10, 2, 3, 4, 6), np.float32)
VALIDATION = np.full((2, 3, 4, 6), 7, np.uint8)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"y_train": np.arange(9) % 2}, "x_train has 10 samples, and there are 9 labels"),
        ({"y_train": np.arange(10)}, "y_train[2] is 2; labels are in 0…1"),
        ({"y_test": np.array([0, 1, -1, 0])}, "y_test[2] is -1; labels are in 0…1"),
        ({"y_train": np.zeros(10)}, "y_train is float64; labels are integers"),
        ({"y_train": np.zeros((10, 2), np.int64)}, "y_train has the shape (10, 2)"),
        ({"x_test": np.zeros((0, 3, 4, 6), np.uint8), "y_test": np.zeros(0, int)}, "y_test is emp"),
        ({"class_names": ("only",), "y_train": np.zeros(10, int)}, "1 class; a classifier needs"),
        ({"class_names": ("same", "same")}, "two classes are named 'same'"),
        ({"class_names": ("a", "b\x1b[2J")}, "control characters"),
        ({"class_names": ("a", "b" * 201)}, "no text of 1 to 200 characters"),
        ({"class_names": ("a", "")}, "no text of 1 to 200 characters"),
        ({"x_train": np.zeros((10, 12), np.uint8)}, "x_train has the shape (10, 12)"),
        ({"x_train": np.zeros((10, 3, 4, 0), np.uint8)}, "has 0 pixels of width; 1 to 4096"),
        ({"x_train": np.zeros((10, 1, 4097, 1), np.uint8)}, "has 4097 pixels of height"),
        ({"x_train": np.zeros((10, 2000, 1, 1), np.uint8)}, "has 2000 channels; 1 to 1024"),
        ({"x_train": np.zeros((10, 3, 4, 7), np.uint8)}, "training samples have the shape"),
        ({"x_train": np.zeros((10, 3, 4, 6), np.float64)}, "x_train is float64"),
        ({"x_train": FLOATS}, "x_train is float32, x_test is uint8"),
        ({"x_train": FLOATS + 255}, "x_train holds values from 255 to 255; floats are in [0, 1]"),
        ({"x_train": FLOATS - 0.5}, "holds values from -0.5 to -0.5"),
        ({"x_train": FLOATS + np.nan}, "x_train holds NaN or infinite values"),
        ({"x_train": EVENTS + np.inf}, "x_train holds NaN or infinite values"),
        ({"x_train": EVENTS - 1}, "holds the event count -1"),
        ({"x_val": VALIDATION}, "there is x_val without y_val"),
        ({"y_val": np.array([0, 1])}, "there is y_val without x_val"),
        ({"x_val": VALIDATION, "y_val": np.arange(3) % 2}, "x_val has 2 samples, and there are 3"),
        ({"x_val": VALIDATION, "y_val": np.array([0, 2])}, "y_val[1] is 2; labels are in 0…1"),
        ({"x_val": VALIDATION[:0], "y_val": np.zeros(0, int)}, "y_val is empty"),
        (
            {"x_val": VALIDATION[..., :5], "y_val": np.array([0, 1])},
            "training samples have the shape (3, 4, 6), validation samples (3, 4, 5)",
        ),
        (
            {"x_val": VALIDATION / np.float32(255), "y_val": np.array([0, 1])},
            "x_train is uint8, x_val is float32",
        ),
    ],
)
def test_unusable_data_are_refused_with_the_reason_and_a_remedy(
    dataset: Build, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataError) as caught:
        dataset(**changes)
    assert says in str(caught.value)
    assert caught.value.hint


def test_a_single_nan_among_many_values_is_found(dataset: Build) -> None:
    x = np.random.default_rng(0).random((10, 3, 4, 6), np.float32)
    dataset(x_train=x, x_test=x[:4])
    x[7, 1, 2, 3] = np.nan
    with pytest.raises(DataError, match="NaN"):
        dataset(x_train=x, x_test=x[:4])


def test_series_have_channels_in_time_and_any_sign(dataset: Build) -> None:
    x = np.random.default_rng(0).normal(-3, 2, (10, 7, 3)).astype(np.float32)
    data = dataset(x_train=x, x_test=x[:4])
    assert (data.kind, data.is_series, data.is_events, data.is_bounded) == (
        "series",
        True,
        False,
        False,
    )
    assert (data.sample_shape, data.timesteps) == ((3, 1, 1), 7)
    mean, deviation = data.channel_statistics()
    np.testing.assert_allclose(mean, x.mean(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(deviation, x.std(axis=(0, 1)), rtol=1e-5)
    summary = json.loads(json.dumps(data.summary(), allow_nan=False))
    assert (summary["kind"], summary["shape"], summary["timesteps"]) == ("series", [3, 1, 1], 7)
    assert "extreme_values" not in [found["code"] for found in summary["findings"]]


def test_one_odd_value_of_a_series_is_no_finding(dataset: Build) -> None:
    x = np.random.default_rng(0).normal(size=(10, 7, 3)).astype(np.float32)
    x[0, 0, 0] = 1e9
    codes = [found["code"] for found in dataset(x_train=x, x_test=x[:4]).summary()["findings"]]
    assert "extreme_values" not in codes


@pytest.mark.parametrize(
    ("shape", "value", "says"),
    [
        ((10, 7, 3), np.nan, "NaN or infinite"),
        ((10, 7, 3), -1e30, "at most 1e"),
        ((10, 65_537, 1), 0.0, "65537 time steps"),
        ((10, 7, 1025), 0.0, "1025 channels"),
        ((10, 0, 3), 0.0, "0 time steps"),
        ((10, 7), 0.0, "series N T C"),
    ],
)
def test_series_that_cannot_be_kept_are_refused(
    dataset: Build, shape: tuple[int, ...], value: float, says: str
) -> None:
    x = np.zeros(shape, np.float32)
    if x.size:
        x.reshape(-1)[-1] = value
    with pytest.raises(DataError) as caught:
        dataset(x_train=x, x_test=x[:4])
    assert says in f"{caught.value} {caught.value.hint}"


def test_counts_in_bytes_are_scaled_by_their_unit(dataset: Build) -> None:
    x = np.random.default_rng(0).poisson(2.0, (10, 5, 2, 4, 6)).astype(np.uint8)
    counts, shares = (dataset(x_train=x, x_test=x[:4], unit=unit) for unit in (1, 255))
    floats = dataset(x_train=x.astype(np.float32), x_test=x[:4].astype(np.float32))
    for found, expected in zip(
        counts.channel_statistics(), floats.channel_statistics(), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(
        counts.channel_statistics().mean, 255 * shares.channel_statistics().mean, rtol=1e-6
    )
    assert (counts.is_bounded, shares.is_bounded, floats.is_bounded) == (False, True, False)
