"""Mean and deviation of channels, and the values that may not rule them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saf.data import BUILTIN, Dataset, blocks
from saf.data.findings import findings
from saf.data.statistics import channel_statistics, divisors, extremes
from saf.errors import DataError
from saf.training.events import Evaluation, Step
from tests.saf.training.trainings import run, specification

N, T, C, H, W = 120, 4, 2, 6, 6


def events(samples: int = N) -> np.ndarray:
    """Sparse counts, as a sensor sends them."""
    return np.random.default_rng(0).poisson(0.3, (samples, T, C, H, W)).astype(np.float32)


def plain(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The formula as it is for ordinary data."""
    by_channel = np.moveaxis(x, -3, 0).reshape(x.shape[-3], -1).astype(np.float64)
    mean = by_channel.sum(axis=1) / by_channel.shape[1]
    squares = np.einsum("cn,cn->c", by_channel, by_channel) / by_channel.shape[1]
    deviation = np.maximum(np.sqrt(np.maximum(squares - mean**2, 0.0)), 1e-6)
    return mean.astype(np.float32), deviation.astype(np.float32)


def data_of(x: np.ndarray, **fields: Any) -> Dataset:
    test = (
        np.resize(events(100), (100, *x.shape[1:]))
        if x.ndim == 5
        else np.random.default_rng(1).random((100, *x.shape[1:]))
    )
    return Dataset(
        x_train=x,
        y_train=np.arange(len(x)) % 2,
        x_test=test.astype(x.dtype),
        y_test=np.arange(100) % 2,
        class_names=("a", "b"),
        **fields,
    )


def one_sample(x: np.ndarray, value: float) -> None:
    x[12] *= value


def one_value(x: np.ndarray, value: float) -> None:
    x[7, 2, 0, 3, 3] = value


def one_pixel(x: np.ndarray, value: float) -> None:
    x[:, :, :, 2, 5] = value


def one_step(x: np.ndarray, value: float) -> None:
    x[:, 0] *= value


def one_channel_of_a_sample(x: np.ndarray, value: float) -> None:
    x[3, :, 1] = value


def some_samples(x: np.ndarray, value: float) -> None:
    x[[1, 50, 70, 100, 110]] *= value


OUTLIERS = {
    one_sample: ("sample", (12,)),
    one_value: ("sample", (7,)),
    one_pixel: ("pixel", (17,)),
    one_step: ("time step", (0,)),
    one_channel_of_a_sample: ("sample", (3,)),
    some_samples: ("sample", (1, 50, 70, 100, 110)),
}


@pytest.mark.parametrize("value", [3e4, 1e12, 1e18])
@pytest.mark.parametrize("change", OUTLIERS, ids=lambda change: change.__name__)
def test_a_few_extreme_counts_do_not_rule_the_normalisation_and_are_told(
    change: Any, value: float, caplog: pytest.LogCaptureFixture
) -> None:
    x = events()
    mean, deviation = plain(x)
    change(x, value if change in (one_value, one_pixel, one_channel_of_a_sample) else value / 10)
    assert plain(x)[1].max() > 20 * deviation.max(), "it would have ruled"
    data = data_of(x)
    found = data.channel_statistics()
    np.testing.assert_allclose(found.mean, mean, rtol=0.5)
    np.testing.assert_allclose(found.deviation, deviation, rtol=0.5)
    assert "left out of the normalisation" in caplog.text
    axis, places = OUTLIERS[change]
    for extreme in extremes(x):
        assert (extreme.axis, extreme.places) == (axis, places)
        assert extreme.share >= 0.99
    (told, *_) = [finding for finding in findings(data) if finding.code == "extreme_values"]
    assert ", ".join(map(str, places)) in told.message
    assert "left out of the normalisation" in told.message
    summary = data.summary()
    assert summary["std"] == found.deviation.tolist()
    assert "extreme_values" in [finding["code"] for finding in summary["findings"]]


def test_many_channels_with_extreme_values_are_one_finding_for_each_kind_of_place() -> None:
    x = np.random.default_rng(0).poisson(0.3, (50, 3, 40, 5, 5)).astype(np.float32)
    x[4, :, :30] *= 1e9
    x[:, :, 30:, 2, 2] = 1e9
    found = [finding for finding in findings(data_of(x)) if finding.code == "extreme_values"]
    assert len(extremes(x)) == 40
    assert len(found) == 2
    assert "29 further channels" in found[0].message
    assert "(12)" in found[1].message


@pytest.mark.parametrize("chunk", [1, 1000, 2**22])
def test_the_memory_of_the_statistics_does_not_change_what_is_found(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = events()
    one_pixel(x, 1e12)
    whole, found = channel_statistics(x), extremes(x)
    monkeypatch.setattr(blocks, "VALUES", chunk)
    assert extremes(x) == found
    for one, other in zip(channel_statistics(x), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def ordinary() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(2)
    images = generator.random((50, 3, 8, 8)).astype(np.float32)
    dark = (images**20).astype(np.float32)
    channel = events()
    channel[:, :, 1] *= 1e12
    growing = events()
    growing *= np.geomspace(1, 100, N, dtype=np.float32)[:, None, None, None, None]
    surface = np.exp(-30 * generator.random((40, T, C, H, W))).astype(np.float32)
    silent = events()
    silent[:, :, 0] = 0
    return {
        "bytes": generator.integers(0, 256, (40, 1, 8, 8), np.uint8),
        "digits": BUILTIN["digits"]().x_train,
        "float images": images,
        "dark float images": dark,
        "counts": events(),
        "a channel with large counts": channel,
        "samples up to a hundred times as active": growing,
        "time surfaces": surface,
        "a silent channel": silent,
        "no event at all": np.zeros((9, T, C, H, W), np.float32),
        "few samples": events(3),
    }


@pytest.mark.parametrize("name", list(ordinary()))
def test_ordinary_data_have_the_statistics_of_the_plain_formula_to_the_bit(name: str) -> None:
    x = ordinary()[name]
    mean, deviation = plain(x)
    if x.dtype == np.uint8:
        whole = np.moveaxis(x, -3, 0).reshape(x.shape[1], -1).astype(np.float64)
        of_bytes = whole.sum(1) / whole.shape[1]
        squares = (whole * whole).sum(1) / whole.shape[1]
        mean = (of_bytes / 255).astype(np.float32)
        deviation = (np.sqrt(squares - of_bytes**2) / 255).astype(np.float32)
    found = channel_statistics(x)
    assert np.array_equal(found.mean, mean)
    assert np.array_equal(found.deviation, deviation)
    assert extremes(x) == []


def test_a_few_bright_float_images_are_told_and_the_statistics_are_those_of_all() -> None:
    x = (1e-4 * np.random.default_rng(3).random((100, 1, 8, 8))).astype(np.float32)
    x[5] *= 1e4
    data = data_of(x)
    for one, other in zip(data.channel_statistics(), plain(x), strict=True):
        assert np.array_equal(one, other)
    (told,) = [finding for finding in findings(data) if finding.code == "extreme_values"]
    assert "1 of 100 samples (5)" in told.message
    assert "the normalisation follows them" in told.message


def test_a_constant_channel_of_any_size_has_the_least_deviation() -> None:
    """The difference of two sums of squares has no digits left for it."""
    x = events()
    x[:, :, 1] = 12345679.0
    found = channel_statistics(x)
    assert found.mean[1] == np.float32(12345679.0)
    assert found.deviation[1] == np.float32(1e-6)


@pytest.mark.parametrize("size", [1e-30, 1e-13, 5e-5, 1.0, 1e12])
def test_series_of_any_size_have_their_own_deviation(size: float) -> None:
    """Event counts and brightness have a size; a signal is in volts, teslas or pascals."""
    generator = np.random.default_rng(5)
    offset = np.array([0, 1, 100, 0])
    x = (size * (generator.standard_normal((50, 20, 4)) + offset)).astype(np.float32)
    x[:, :, 3] = np.float32(size * 3.1)
    found = channel_statistics(x)
    np.testing.assert_allclose(found.deviation[:3], size, rtol=0.1)
    assert found.deviation[3] == np.float32(1e-6)
    assert divisors(found.deviation.tolist(), (4, 1, 1)) == [*found.deviation[:3].tolist(), 1.0]
    assert divisors([5e-5, 5e-4], (2, 8, 8)) == [1.0, 5e-4]


@pytest.mark.parametrize("shape", [(20, 6, 1), (20, 1, 1, 1)])
def test_one_that_varies_by_just_what_stands_for_constant_is_not_constant(
    shape: tuple[int, ...],
) -> None:
    x = np.full(shape, np.float32(1e-6))
    x[::2] *= -1
    deviation = channel_statistics(x).deviation
    assert deviation[0] == pytest.approx(1e-6, rel=0.01)
    assert divisors(deviation.tolist(), (1, 1, 1)) == deviation.tolist()
    assert divisors(channel_statistics(np.abs(x)).deviation.tolist(), (1, 1, 1)) == [1.0]


@pytest.mark.parametrize("offset", [0.0, 1e3, 2**22])
def test_a_large_offset_takes_no_digits_from_the_deviation(offset: float) -> None:
    x = (events() + np.float32(offset)).astype(np.float32)
    found = channel_statistics(x)
    np.testing.assert_allclose(found.deviation, x.astype(np.float64).std(axis=(0, 1, 3, 4)), 1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, 2e18, 3e38])
def test_counts_whose_sums_would_not_be_finite_are_refused(value: float) -> None:
    x = events()
    x[4, 1, 0, 2, 2] = value
    with pytest.raises(DataError, match=r"NaN or infinite|counts are at most 1e\+18") as error:
        data_of(x)
    assert error.value.hint


@pytest.mark.slow
@pytest.mark.parametrize("method", ["saf-e", "saf-f", "spike-representation", "bptt"])
@pytest.mark.parametrize(("value", "precision"), [(1e12, "float32"), (1e17, "bfloat16")])
def test_a_training_with_one_broken_sample_learns_from_the_others(
    value: float, method: str, precision: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generator = np.random.default_rng(4)

    def moving(samples: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.arange(samples) % 3
        x = generator.poisson(0.1, (samples, 3, 1, 8, 8)).astype(np.float32)
        for number, label in enumerate(y):
            x[number, :, :, :, 3 * label : 3 * label + 2] += 2
        return x, y

    (x_train, y_train), (x_test, y_test) = moving(120), moving(60)
    x_train[33] *= value
    data = Dataset(
        x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test, class_names=tuple("abc")
    )
    with caplog.at_level(logging.WARNING):
        reports = run(
            specification(
                method={"name": method},
                precision=precision,
                network={"name": "convnet", "channels": [8, 8]},
                optimizer={"name": "adamw", "learning_rate": 0.01},
                batch_size=12,
                epochs=8,
            ),
            data,
            tmp_path,
        )
    assert "in channel 0, values of up to" in caplog.text
    losses = [report.metrics["loss"] for report in reports if isinstance(report, Step)]
    assert np.isfinite(losses).all()
    *_, last = [report for report in reports if isinstance(report, Evaluation)]
    assert last.metrics["test_accuracy"] > 0.8
