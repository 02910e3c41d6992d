"""Which values are black and white: decided where that is clear, asked where it is not."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saf.data import read
from saf.data.formats.format import NeedsChoiceError
from saf.errors import DataError

Npz = Callable[..., Path]
RANDOM = np.random.default_rng(4)
BYTES = RANDOM.integers(0, 256, (8, 1, 9, 7), np.uint8)
BYTES.flat[:2] = 0, 255


def both(x: Any) -> dict[str, Any]:
    return {"x_train": x, "x_test": x[:4]}


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int64", ">u4"])
def test_whole_numbers_of_a_byte_become_bytes(dtype: str, npz: Npz) -> None:
    data = read(npz(**both(BYTES.astype(dtype))))
    assert data.x_train.dtype == np.uint8
    np.testing.assert_array_equal(data.x_train, BYTES)


def test_truth_values_are_black_and_white(npz: Npz) -> None:
    data = read(npz(**both(BYTES > 99)))
    np.testing.assert_array_equal(data.x_train, np.where(BYTES > 99, 255, 0))


def test_sixteen_bits_are_shares_of_the_largest(npz: Npz) -> None:
    data = read(npz(**both(BYTES.astype(np.uint16) * 257)))
    np.testing.assert_allclose(data.x_train, BYTES / 255, atol=1e-6)
    assert "16 bits" in data.decisions[0].why


@pytest.mark.parametrize(
    ("x", "found", "answers"),
    [
        (BYTES.astype("float32"), "floats from 0 to 255", ["0..255"]),
        (BYTES / 127.5 - 1, "floats from -1 to 1", ["-1..1"]),
        (BYTES / 255 - 0.5, "floats from -0.5 to 0.5", ["-1..1", "-0.5..0.5"]),
        ((BYTES - 33.0) / 78.6, "floats from -0.4", ["-3..3"]),
        (BYTES % 2, "integers from 0 to 1;", ["0..1", "0..255"]),
        (BYTES // 16, "integers from 0 to 15;", ["0..15", "0..255"]),
        (BYTES // 16 + BYTES // 255, "integers from 0 to 16;", ["0..16", "0..255"]),
        (BYTES * np.int64(15), "integers from 0 to 3825;", ["0..4095", "0..65535", "0..3825"]),
        (BYTES * np.int64(99_999), "integers from 0 to 25499745;", ["0..25499745"]),
        (BYTES.astype(int) - 128, "integers from -128 to 127;", ["-128..127"]),
        (BYTES / 255 / 255, "floats from 0 to 0.0039", ["0..0.00392157", "0..1"]),
        (BYTES / 2.0, "floats from 0 to 127.5", ["0..255", "0..127.5"]),
    ],
)
def test_ranges_that_are_not_clear_are_asked_about_with_a_picture_of_each(
    x: Any, found: str, answers: list[str], npz: Npz
) -> None:
    path = npz(**both(x))
    with pytest.raises(NeedsChoiceError, match="Which values are black and white") as caught:
        read(path)
    question = caught.value.questions[0]
    assert found in question.asks
    assert question.setting == "value_range"
    values = [each.value for each in question.candidates]
    assert [each for each in answers if each in values] or values == answers, values
    for each in question.candidates:
        assert each.picture is not None
        Image.open(io.BytesIO(each.picture)).verify()
        low, high = (float(end) for end in each.value.split(".."))
        data = read(path, settings={"value_range": each.value})
        seen = data.x_train / 255 if data.x_train.dtype == np.uint8 else data.x_train
        np.testing.assert_allclose(seen, (x - low) / (high - low), atol=1e-5)


def test_values_outside_of_the_range_that_was_said_are_refused(npz: Npz) -> None:
    with pytest.raises(DataError, match=r"the value range 0\.\.100 was said") as caught:
        read(npz(**both(BYTES)), settings={"value_range": "0..100"})
    assert "0..255" in caught.value.hint


def test_splits_of_different_ranges_are_refused(npz: Npz) -> None:
    path = npz(x_train=BYTES / 255, x_test=BYTES[:4].astype(float))
    for settings in ({}, {"value_range": "0..255"}):
        with pytest.raises(DataError, match="the splits hold values of different ranges") as caught:
            read(path, settings=settings)
        assert "alike" in caught.value.hint


def test_bytes_here_and_shares_there_are_both_read(npz: Npz) -> None:
    data = read(npz(x_train=BYTES, x_test=BYTES[:4] / np.float32(255)))
    np.testing.assert_allclose(data.x_train, BYTES / 255, atol=1e-6)
    np.testing.assert_allclose(data.x_test, BYTES[:4] / 255, atol=1e-6)


def test_counts_of_event_frames_are_taken_as_they_are(npz: Npz) -> None:
    counts = RANDOM.poisson(0.3, (8, 6, 2, 9, 7)).astype(np.int16)
    np.testing.assert_array_equal(read(npz(**both(counts))).x_train, counts)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (BYTES > 99, BYTES // 17),  # truth values and 0…15
        (BYTES // 17, BYTES > 99),
        (BYTES > 99, BYTES),
        (BYTES, BYTES * np.uint16(16)),  # 8 and 12 bits
        (BYTES * np.uint16(16), BYTES),
        (BYTES, BYTES.astype(np.int16) - 128),
        (BYTES, BYTES.astype(np.int8)),
    ],
)
def test_splits_of_types_that_hold_other_ranges_are_refused(
    train: Any, test: Any, npz: Npz
) -> None:
    with pytest.raises(DataError, match="values of different ranges"):
        read(npz(x_train=train, x_test=test[:4]))


def test_truth_values_beside_bytes_of_0_and_1_are_black_and_white(npz: Npz) -> None:
    data = read(npz(x_train=BYTES > 99, x_test=(BYTES[:4] > 99).astype(np.uint8)))
    np.testing.assert_array_equal(data.x_test, np.where(BYTES[:4] > 99, 255, 0))


def test_floats_around_0_beside_floats_above_it_are_refused(npz: Npz) -> None:
    path = npz(x_train=BYTES / 127.5 - 1, x_test=BYTES[:4] / 255)
    for settings in ({}, {"value_range": "-1..1"}):
        with pytest.raises(DataError, match="values of different ranges"):
            read(path, settings=settings)
