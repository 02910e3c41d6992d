"""What a network has to beat: the most frequent class and a linear classifier."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saf.data import Dataset, baseline, digits, load, save
from saf.data.baseline import MAX_FEATURES, RIDGE, baselines

DIGITS = digits()


def of(data: Dataset) -> baseline.Baselines:
    return baselines(data.x_train, data.y_train, data.x_test, data.y_test, data.classes)


def with_scikit_learn(x: Any, y: Any, x_test: Any, y_test: Any) -> float:
    # Here: loading it takes a second of all who only collect the tests.
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), RidgeClassifier(alpha=RIDGE * len(x)))
    classifier.fit(x.reshape(len(x), -1).astype(np.float64), y)
    return float(classifier.score(x_test.reshape(len(x_test), -1).astype(np.float64), y_test))


def stripes(count: int, *shape: int, classes: int = 3, seed: int = 0) -> tuple[Any, Any]:
    """Noise, and in each class another band of rows brighter."""
    generator = np.random.default_rng(seed)
    y = np.arange(count) % classes
    x = generator.integers(0, 100, (count, *shape)).astype(np.uint8)
    height = shape[-2]
    for label in range(classes):
        rows = slice(label * height // classes, (label + 1) * height // classes)
        x[y == label, ..., rows, :] += 100
    return x, y


@pytest.mark.slow
def test_on_digits_it_is_as_good_as_scikit_learns_ridge_classifier() -> None:
    found = of(DIGITS)
    expected = with_scikit_learn(DIGITS.x_train, DIGITS.y_train, DIGITS.x_test, DIGITS.y_test)
    assert found.linear == pytest.approx(expected, abs=1.5 / 360)
    assert found.linear > 0.9  # type: ignore[operator]
    assert found.linear_reason is None
    assert found.linear_named is not None
    assert (found.linear_named == DIGITS.y_test).mean() == found.linear
    assert found.seconds > 0


@pytest.mark.parametrize("count", [2, 10, 60])
@pytest.mark.parametrize("classes", [2, 5])
def test_with_few_samples_and_two_classes_it_is_scikit_learns_too(count: int, classes: int) -> None:
    chosen = np.flatnonzero(DIGITS.y_train < classes)[:count]
    seen = np.flatnonzero(DIGITS.y_test < classes)
    arrays = (DIGITS.x_train[chosen], DIGITS.y_train[chosen])
    test = (DIGITS.x_test[seen], DIGITS.y_test[seen])
    found = baselines(*arrays, *test, classes)
    assert found.linear == pytest.approx(with_scikit_learn(*arrays, *test), abs=1.5 / len(seen))


def test_floats_and_bytes_of_the_same_images_give_the_same() -> None:
    floats = [x.astype(np.float32) / 255 for x in (DIGITS.x_train, DIGITS.x_test)]
    found = baselines(floats[0], DIGITS.y_train, floats[1], DIGITS.y_test, 10)
    assert found.linear == pytest.approx(of(DIGITS).linear, abs=1.5 / 360)


def test_the_most_frequent_class_is_that_of_the_training_samples() -> None:
    x, _ = stripes(10, 1, 4, 4)
    found = baselines(x, np.array([2] * 6 + [0] * 4), x[:5], np.array([0, 0, 0, 2, 2]), 3)
    assert (found.most_frequent_class, found.most_frequent) == (2, 0.4)
    tie = baselines(x, np.arange(10) % 2, x[:5], np.array([0, 0, 0, 1, 1]), 2)
    assert (tie.most_frequent_class, tie.most_frequent) == (0, 0.6)


def test_it_is_the_same_each_time() -> None:
    assert of(DIGITS).linear == of(DIGITS).linear


def test_a_training_set_of_many_is_taken_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "MAX_TRAINING_SAMPLES", 100)
    order = np.argsort(DIGITS.y_train, kind="stable")  # by class: the first 100 are all zeros
    x, y = DIGITS.x_train[order], DIGITS.y_train[order]
    found = baselines(x, y, DIGITS.x_test, DIGITS.y_test, 10)
    chosen = np.arange(100) * len(x) // 100
    expected = with_scikit_learn(x[chosen], y[chosen], DIGITS.x_test, DIGITS.y_test)
    assert found.linear == pytest.approx(expected, abs=1.5 / 360)
    assert len(np.unique(y[chosen])) == 10


@pytest.mark.parametrize("shape", [(3, 33, 31), (1, 1, 3000), (1, 100, 100), (2, 700, 3)])
def test_large_images_are_averaged_over_squares_of_pixels(shape: tuple[int, int, int]) -> None:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (5, *shape)).astype(np.uint8)
    factor = baseline._pooling_factor(shape)
    (features,) = baseline._features(x, np.arange(5), factor)
    _, height, width = shape
    expected = [
        x[:, :, row : row + factor, column : column + factor].mean(axis=(2, 3))
        for row in range(0, height, factor)
        for column in range(0, width, factor)
    ]
    assert features.shape[1] == shape[0] * len(expected) <= MAX_FEATURES
    by_channel = features.reshape(5, shape[0], -1)
    np.testing.assert_allclose(by_channel, np.stack(expected, axis=-1), rtol=1e-5)
    smaller = factor - 1
    assert smaller == 0 or baseline._feature_count(shape, smaller) > MAX_FEATURES


@pytest.mark.parametrize("shape", [(3, 40, 40), (1, 3, 64), (6, 2, 16, 16), (1, 1, 8, 8)])
def test_stripes_are_told_apart_in_images_and_in_event_frames(shape: tuple[int, ...]) -> None:
    x, y = stripes(60, *shape)
    x_test, y_test = stripes(30, *shape, seed=1)
    found = baselines(x, y, x_test, y_test, 3)
    assert found.linear is not None
    assert found.linear >= 0.9
    assert found.most_frequent == pytest.approx(1 / 3)


def test_images_of_one_row_are_no_special_case() -> None:
    x, y = stripes(60, 1, 64, 1)
    x_test, y_test = stripes(30, 1, 64, 1, seed=1)
    turned, turned_test = x.swapaxes(2, 3), x_test.swapaxes(2, 3)
    assert turned.shape == (60, 1, 1, 64)
    found = baselines(turned, y, turned_test, y_test, 3).linear
    assert found == baselines(x, y, x_test, y_test, 3).linear
    assert found is not None
    assert found > 0.9


def test_event_frames_count_by_their_mean_over_time() -> None:
    x = np.random.default_rng(0).poisson(1.0, (60, 7, 2, 5, 6)).astype(np.float32)
    y = np.arange(60) % 3
    x[y == 1, :, 0] += 1
    x[y == 2, :, 1] += 1
    mean = x.mean(axis=1)
    found = baselines(x[:40], y[:40], x[40:], y[40:], 3)
    assert found.linear == with_scikit_learn(mean[:40], y[:40], mean[40:], y[40:])
    assert baselines(x[:40, ::-1], y[:40], x[40:], y[40:], 3).linear == found.linear


def test_constant_features_say_nothing_even_where_test_samples_differ_in_them() -> None:
    x, y = stripes(60, 1, 8, 8)
    x_test, y_test = stripes(30, 1, 8, 8, seed=1)
    plain = baselines(x, y, x_test, y_test, 3).linear
    x[:, :, 5:], x_test[:, :, 5:] = 7, 250
    assert plain is not None
    assert baselines(x, y, x_test, y_test, 3).linear == pytest.approx(plain, abs=0.1)


def test_one_sample_of_each_class_suffices() -> None:
    x, y = stripes(8, 1, 8, 8, classes=8)
    x_test, y_test = stripes(80, 1, 8, 8, classes=8, seed=1)
    found = baselines(x, y, x_test, y_test, 8)
    assert found.linear == pytest.approx(with_scikit_learn(x, y, x_test, y_test), abs=1.5 / 80)
    assert found.linear is not None
    assert found.linear > 0.5


def test_of_uneven_classes_the_rare_one_is_seen_as_by_scikit_learn() -> None:
    y = np.concatenate([np.zeros(190, np.int64), np.full(10, 1)])
    x, _ = stripes(200, 1, 8, 8)
    x[y == 1, :, 3] += 60
    order = np.random.default_rng(0).permutation(200)
    x, y = x[order], y[order]
    found = baselines(x[:150], y[:150], x[150:], y[150:], 4)
    expected = with_scikit_learn(x[:150], y[:150], x[150:], y[150:])
    assert found.linear == pytest.approx(expected, abs=1.5 / 50)
    assert found.most_frequent == float((y[150:] == 0).mean())


def test_a_class_without_training_samples_is_never_named() -> None:
    x, y = stripes(60, 1, 8, 8)
    y = np.where(y == 1, 5, y)
    found = baselines(x, y, x, np.where(y == 0, 1, y), 6)
    assert found.linear == pytest.approx(2 / 3, abs=0.05)


def test_a_value_of_1e12_is_no_obstacle() -> None:
    x, y = stripes(60, 5, 1, 8, 8)
    counts = x.astype(np.float32)
    counts[7, 2, 0, 3, 3] = 1e12
    found = baselines(counts, y, counts[8:], y[8:], 3)
    assert found.linear is not None
    assert found.linear > 0.9


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        (np.full((6, 1, 4, 4), 9, np.uint8), np.arange(6) % 2, "no feature differs between"),
        (stripes(6, 1, 4, 4)[0], np.ones(6, np.int64), "the training samples are of one class"),
        (np.full((6, 1, 4, 4), np.nan, np.float32), np.arange(6) % 2, "not finite"),
    ],
)
def test_where_there_is_no_linear_classifier_the_reason_is_told(
    x: Any, y: Any, reason: str
) -> None:
    found = baselines(x, y, x, y, 2)
    assert found.linear is None
    assert found.linear_reason is not None
    assert reason in found.linear_reason
    assert found.most_frequent in (0.5, 1.0)


@pytest.mark.slow
def test_a_file_mapped_into_memory_is_not_read_as_a_whole(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (30_000, 3, 32, 32)).astype(np.uint8)
    y = np.arange(len(x)) % 2
    save(Dataset(x, y, x[:100], y[:100], ("a", "b")), tmp_path / "d")
    data = load(tmp_path / "d")
    small = Dataset(data.x_train[:10_500], y[:10_500], x[:100], y[:100], ("a", "b"))
    peaks = []
    for each in (small, data):
        tracemalloc.start()
        try:
            assert of(each).linear is not None
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]  # three times the samples, the same memory
    assert peaks[1] < x.nbytes
