"""SpikingJelly's caches of frames and of events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from saf.data import read
from saf.errors import DataError
from tests.saf.data.recordings import (
    cache,
    npz,
)

Pack = Callable[[Mapping[str, bytes], str], Path]


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.float64])
def test_frames_of_spikingjelly_are_taken_as_they_are(dtype: type, pack: Pack) -> None:
    def frames(label: int, index: int) -> np.ndarray:
        return np.random.default_rng(10 * label + index).poisson(2.0, (6, 2, 12, 10)).astype(dtype)

    data = read(pack(cache(frames), "zip"))
    assert data.x_train.shape == (12, 6, 2, 12, 10)
    assert data.x_train.dtype == (np.uint8 if dtype == np.uint8 else np.float32)
    assert data.unit == 1
    np.testing.assert_array_equal(data.x_train[5], frames(1, 1))
    np.testing.assert_array_equal(data.x_test[-1], frames(2, 5))
    with pytest.raises(DataError, match="6 frames each, which are taken as they are"):
        read(pack(cache(frames), "zip"), "spikingjelly", settings={"timesteps": 3})


def test_frames_that_are_no_whole_numbers_are_kept_as_floats(pack: Pack) -> None:
    def frames(label: int, index: int) -> np.ndarray:
        return np.full((6, 2, 12, 10), label + index / 8, np.float32)

    data = read(pack(cache(frames), "zip"))
    assert data.x_train.dtype == np.float32
    assert data.x_train[:, 0, 0, 0, 0].tolist() == [k + i / 8 for k in range(3) for i in range(4)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (npz(frames=np.zeros((6, 2, 12, 9))), "shape"),
        (npz(frames=np.full((6, 2, 12, 10), -1.0)), "counts from -1"),
        (npz(frames=np.full((6, 2, 12, 10), np.nan)), "counts from nan"),
        (npz(other=np.zeros(3)), "holds other and no 'frames'"),
        (npz(frames=np.zeros((6, 2, 12, 10)))[:-60], "damaged"),
        (npz(frames=np.array([{}], object)), "Python objects"),
        (b"PK\x03\x04", "damaged"),
    ],
    ids=["shape", "negative", "nan", "keys", "cut", "pickle", "magic"],
)
def test_a_broken_cache_is_refused(content: bytes, says: str, pack: Pack) -> None:
    files = cache(lambda label, index: np.ones((6, 2, 12, 10), np.uint8))
    files["frames_number_6_split_by_number/train/1/user01_1.npz"] = content
    with pytest.raises(DataError, match=says):
        read(pack(files, "zip"))


@pytest.mark.slow
def test_a_bomb_is_refused(pack: Pack) -> None:
    """Made here: packing 261 MiB takes seconds of all who only collect the tests."""
    frames = np.zeros((6, 2, 12, 10, 190_000), bool)
    test_a_broken_cache_is_refused(npz(frames=frames), "more than 256 MiB", pack)


def test_files_that_have_an_array_called_like_the_times_are_no_cache(pack: Pack) -> None:
    one = npz(start=np.zeros(3), count=np.zeros(3))
    files = {f"train/{label}/{n}.npz": one for label in "ab" for n in range(6)}
    with pytest.raises(DataError) as caught:
        read(pack(files, "zip"))
    assert "has no array 'x'" not in str(caught.value)


def test_a_cache_is_recognised_although_its_first_file_is_damaged(pack: Pack) -> None:
    files = cache(lambda label, index: np.ones((6, 2, 12, 10), np.uint8))
    first = min(files)
    files[first] = files[first][:-60]
    with pytest.raises(DataError, match="damaged") as caught:
        read(pack(files, "zip"))
    assert "on_damaged" in caught.value.hint
    data = read(pack(files, "zip"), settings={"on_damaged": "skip"})
    assert len(data.skipped) == 1
