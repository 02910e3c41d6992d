"""Clocks of recordings that begin anew, and bytes that are no events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from saf.data import read
from saf.errors import DataError
from tests.saf.data.recordings import KINDS, aedat_2, class_folders, structured

Pack = Callable[[Mapping[str, bytes], str], Path]


def moved(write: Callable[[np.ndarray], bytes], by: int, of: int) -> Callable[[np.ndarray], bytes]:
    """A writer whose clock stands at `by` when it begins, and begins anew at `of`."""

    def shifted(events: np.ndarray) -> bytes:
        return write(np.column_stack([events[:, :3], (events[:, 3] + by) % of]))

    return shifted


@pytest.mark.parametrize("write", [aedat_2, structured])
def test_a_counter_of_32_bits_that_begins_anew_is_counted_on(
    write: Callable[[np.ndarray], bytes], pack: Pack
) -> None:
    ending = "aedat" if write is aedat_2 else "npy"
    plain = read(pack(class_folders(write, ending), "zip"))
    again = read(pack(class_folders(moved(write, 2**32 - 15_000, 2**32), ending), "zip"))
    np.testing.assert_array_equal(plain.x_train, again.x_train)


@pytest.mark.parametrize("bin_by", ["time", "count"])
def test_a_clock_that_was_set_back_is_refused(bin_by: str, pack: Pack) -> None:
    files = class_folders(moved(structured, 10**6 - 15_000, 10**6), "npy")
    with pytest.raises(DataError, match="go back from 999000 to 0 after event 15"):
        read(pack(files, "zip"), settings={"bin_by": bin_by})


def test_events_in_no_order_are_counted_by_their_times(pack: Pack) -> None:
    def shuffled(events: np.ndarray) -> bytes:
        return structured(np.random.default_rng(0).permutation(events))

    plain = read(pack(class_folders(structured, "npy"), "zip"))
    again = read(pack(class_folders(shuffled, "npy"), "zip"))
    np.testing.assert_array_equal(plain.x_train, again.x_train)


def test_pixels_in_bin_files_are_no_events(pack: Pack) -> None:
    generator = np.random.default_rng(0)
    files = class_folders(lambda events: generator.bytes(100), KINDS["40 bits"][1])
    with pytest.raises(DataError, match="holds no events of 40 bits"):
        read(pack(files, "zip"))
