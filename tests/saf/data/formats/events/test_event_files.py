"""Files of recordings: their headers and clocks, kinds that are not read, random bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saf.data import read
from saf.data.events import aedat, prophesee
from saf.errors import DataError
from tests.saf.data.recordings import (
    EVENTS,
    KINDS,
    STEP,
    aedat_2,
    at,
    class_folders,
    dat,
    evt_3,
    npy,
    structured,
)

Pack = Callable[[Mapping[str, bytes], str], Path]


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (at(1, 2)[:, [3, 0, 1, 2]], "polarity"),
        (np.full((3, 4), np.nan), "no integers"),
        (at(1, 2) - [[5, 0, 0, 0]], "negative pixels"),
        (np.zeros((3, 5)), r"shape \(3, 5\)"),
        (np.zeros(3, [("x", "i2"), ("y", "i2"), ("p", "i2")]), "no field 't'"),
        (np.zeros((3, 4), complex), "values of type"),
    ],
)
def test_arrays_that_are_no_events_are_refused(array: np.ndarray, says: str, pack: Pack) -> None:
    files = class_folders(structured, "npy")
    files["train/dog/1.npy"] = npy(array)
    with pytest.raises(DataError, match=says):
        read(pack(files, "zip"))


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (b"% Data file\n% Version 2\n% Width 304\n% Height 240\n", (102, 80)),
        (b"% geometry:640x480\n", (128, 96)),
    ],
)
def test_the_sensor_is_that_of_the_header(head: bytes, size: tuple[int, int], pack: Pack) -> None:
    data = read(pack(class_folders(lambda events: dat(events, head), "dat"), "zip"))
    assert data.sample_shape == (2, size[1], size[0])


def test_recordings_may_be_larger_than_the_first_header_says(pack: Pack) -> None:
    files = class_folders(lambda events: dat(events, b"% Width 20\n% Height 30\n"), "dat")
    files["train/dog/1.dat"] = dat(at(50, 60), b"% Width 60\n% Height 70\n")
    assert read(pack(files, "zip")).sample_shape == (2, 128, 128)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"% evt 2.1\n% end\n", "EVT 2.1"),
        (b"% format EVT21;width=1280;height=720\n% end\n", "EVT 2.1"),
        (b"% nothing\n% end\n", "does not say its encoding"),
        (b"% evt 3.0", "header"),
        (b"% evt 3.0\n% end\n" + bytes(9), "ends inside a word"),
        (b"% evt 2.0\n% end\n" + bytes(9), "ends inside a word"),
    ],
)
def test_raw_files_of_other_kinds_are_refused(content: bytes, says: str, pack: Pack) -> None:
    files = class_folders(evt_3, "raw")
    files["train/cat/0.raw"] = content
    with pytest.raises(DataError, match=says):
        read(pack(files, "zip"))


def test_the_clock_of_evt_3_goes_on_where_its_24_bits_ran_over() -> None:
    events = at(12, 20)
    events[:, 3] += 2**24 - 20 * STEP
    found, _ = prophesee.decode_raw(evt_3(events & [[-1, -1, -1, 2**24 - 1]]), "x.raw")
    np.testing.assert_array_equal(found.t, events[:, 3])
    found, sensor = prophesee.decode_raw(
        evt_3(events, b"% format EVT3;height=720;width=1280\n% end\n"), "x.raw"
    )
    assert sensor == (1280, 720)


def test_events_before_the_clock_of_a_raw_file_are_left_out() -> None:
    head, words = b"% evt 3.0\n% end\n", np.array([0x0014, 0x200C], "<u2").tobytes()
    found, _ = prophesee.decode_raw(head + words + evt_3(at(12, 20), b""), "x.raw")
    assert len(found.t) == EVENTS


@pytest.mark.parametrize("content", [b"", b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + bytes(5)])
def test_a_packet_that_promises_more_than_there_is_is_refused(content: bytes) -> None:
    with pytest.raises(DataError):
        aedat.decode(content, "x.aedat")
    packet = struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, 2**30, 2**30, 2**30)
    with pytest.raises(DataError, match="ends inside a packet"):
        aedat.decode(b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + packet, "x.aedat")
    negative = struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, -1, -1, -1)
    with pytest.raises(DataError, match="broken packet"):
        aedat.decode(b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + negative, "x.aedat")


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_are_events_or_a_data_error(seed: int, pack: Pack) -> None:
    generator = np.random.default_rng(seed)
    for write, ending, _, _ in KINDS.values():
        files = class_folders(write, ending)
        name = f"train/cat/0.{ending}"
        content = bytearray(files[name])
        for place in generator.integers(0, len(content), 3):
            content[place] = int(generator.integers(0, 256))
        files[name] = bytes(content)
        with suppress(DataError):
            read(pack(files, "zip"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.aedat", aedat_2(at(1, 2))),
        ("x.raw", evt_3(at(12, 2))),
        ("x.dat", dat(at(1, 2))),
        ("shd_train.h5", b"\x89HDF\r\n\x1a\n" + bytes(20)),
    ],
)
def test_a_single_recording_is_refused_in_words(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"is a single recording|one split of several"):
        read(tmp_path / name)


def test_recordings_of_a_newer_kind_are_refused_with_a_way_out(pack: Pack) -> None:
    with pytest.raises(DataError, match="aedat4") as caught:
        read(pack({"airplane/0.aedat4": b"#!AER-DAT4.0\r\n"}, "zip"))
    assert "N T C H W" in caught.value.hint


@pytest.mark.parametrize(
    ("dtype", "first"),
    [
        ("i8", 1_760_000_000_000_000_000),  # ns since 1970
        ("u8", 2**63 + 10**17),
        ("i8", -(10**17)),
        ("f8", 1.76e18),
        ("i2", -20_000),
    ],
)
def test_the_clock_of_events_may_begin_anywhere(dtype: str, first: Any, pack: Pack) -> None:
    def write(events: np.ndarray) -> bytes:
        fields = [("t", dtype), ("x", "i2"), ("y", "i2"), ("p", "i1")]
        array = np.zeros(len(events), fields)
        array["x"], array["y"], array["p"] = events[:, :3].T
        times = events[:, 3] if first != 1.76e18 else events[:, 3] * 1024 * 1024
        array["t"] = np.array([first + int(t) for t in times], dtype)
        return npy(array)

    data = read(pack(class_folders(write, "npy"), "zip"))
    together = data.x_train.sum(axis=(3, 4))
    np.testing.assert_array_equal(together[:, 0], [[4, 0]] * 8)
    np.testing.assert_array_equal(together[:, 9], [[0, 4]] * 8)


@pytest.mark.parametrize("last", [2**62, -(2**62)])
def test_times_too_far_apart_are_refused(last: int, pack: Pack) -> None:
    events = at(1, 2)
    events[-1, 3] = last
    files = class_folders(structured, "npy")
    array = np.zeros(len(events), [("t", "i8"), ("x", "i2"), ("y", "i2"), ("p", "i1")])
    array["x"], array["y"], array["p"], array["t"] = events.T
    files["train/dog/1.npy"] = npy(array)
    with pytest.raises(DataError, match="times from"):
        read(pack(files, "zip"))
