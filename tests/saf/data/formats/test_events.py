"""Recordings of event cameras and lists of spikes, in the layouts that they are distributed in."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from saf.data import Dataset, detect, load, read, save
from saf.data.events import aedat, prophesee
from saf.data.preview import preview
from saf.errors import DataError
from tests.saf.data.recordings import (
    EVENTS,
    KINDS,
    STEP,
    Files,
    aedat_2,
    at,
    cache,
    class_folders,
    dat,
    evt_3,
    forty_bits,
    gestures,
    npy,
    npz,
    shd,
    spikes,
    structured,
)

Pack = Callable[[Mapping[str, bytes], str], Path]


def pixels(data: Dataset, split: str = "train") -> list[tuple[str, int, int]]:
    """(class, column, row) of each sample; each has exactly `EVENTS` events there."""
    found = []
    for sample, label in zip(getattr(data, f"x_{split}"), getattr(data, f"y_{split}"), strict=True):
        together = sample.sum(axis=(0, 1), dtype=np.int64)
        ((row, column),) = np.argwhere(together)
        assert together[row, column] == EVENTS
        found.append((data.class_names[label], int(column), int(row)))
    return found


def expected(rows: range) -> list[tuple[str, int, int]]:
    return [
        (name, 12 + label, 20 + index)
        for label, name in enumerate(("cat", "dog"))
        for index in rows
    ]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[Any, str, str, tuple[int, int]]:
    return KINDS[request.param]


def test_recordings_in_class_folders_become_frames(kind: Any, pack: Pack) -> None:
    write, ending, name, (width, height) = kind
    path = pack(class_folders(write, ending), "zip")
    assert detect(path) == name
    data = read(path)
    assert data.x_train.shape == (8, 10, 2, height, width)
    assert data.x_train.dtype == np.uint8
    assert data.unit == 1
    assert pixels(data) == expected(range(4))
    assert pixels(data, "test") == expected(range(4, 6))
    # 4 events a frame, the darker half first
    together = data.x_train.sum(axis=(3, 4))
    np.testing.assert_array_equal(together[:, :5], [[[4, 0]] * 5] * 8)
    np.testing.assert_array_equal(together[:, 5:], [[[0, 4]] * 5] * 8)


def test_how_recordings_became_frames_is_told(kind: Any, pack: Pack) -> None:
    write, ending, _, (width, height) = kind
    told = {
        decision.setting or decision.value: decision
        for decision in read(pack(class_folders(write, ending), "tar")).decisions
    }
    assert told["timesteps"].value == "10"
    assert "equal duration" in told["bin_by"].why
    assert "channel 1: became brighter" in told["polarity"].why
    assert told["sensor"].value == told["size"].value == f"{width}x{height}"
    assert "255" in told["uint8"].why


@pytest.mark.parametrize("bin_by", ["time", "count"])
def test_the_settings_say_how_to_bin(kind: Any, bin_by: str, pack: Pack) -> None:
    write, ending, name, _ = kind

    def late(events: np.ndarray) -> bytes:
        events = events.copy()
        events[-1, 3] = 99 * STEP  # the last event comes long after the others
        content: bytes = write(events)
        return content

    path = pack(class_folders(late, ending), "zip")
    settings = {"timesteps": 4, "bin_by": bin_by, "size": "17x17", "sensor": "34x34"}
    if name == "aedat":
        settings |= {"size": "64x64", "sensor": "128x128"}
    data = read(path, name, settings=settings)
    side = 64 if name == "aedat" else 17
    assert data.x_train.shape[1:] == (4, 2, side, side)
    counts = data.x_train[0].sum(axis=(1, 2, 3)).tolist()
    assert counts == ([25, 14, 0, 1] if bin_by == "time" else [10, 10, 10, 10])
    column, row = (6, 10)
    assert data.x_train[0][:, :, row, column].sum() == EVENTS


def test_recordings_without_a_test_folder_hold_out_a_fifth(kind: Any, pack: Pack) -> None:
    write, ending, _, _ = kind
    files = {
        f"{name}/{index}.{ending}": write(at(12 + label, 20 + index))
        for label, name in enumerate(("cat", "dog"))
        for index in range(5)
    }
    data = read(pack(files, "zip"))
    assert (len(data.y_train), len(data.y_test)) == (8, 2)
    assert sorted(pixels(data) + pixels(data, "test")) == sorted(expected(range(5)))
    assert any("a fifth" in decision.why for decision in data.decisions)


def test_a_recording_that_ends_early_is_named_and_can_be_left_out(kind: Any, pack: Pack) -> None:
    write, ending, name, _ = kind
    files = class_folders(write, ending)
    for index in (1, 2):
        files[f"train/dog/{index}.{ending}"] = files[f"train/dog/{index}.{ending}"][:-3]
    path = pack(files, "zip")
    with pytest.raises(DataError) as caught:
        read(path)
    assert f"2 of 12 recordings cannot be read: train/dog/1.{ending}" in str(caught.value)
    assert "on_damaged: 'skip'" in caught.value.hint
    data = read(path, name, settings={"on_damaged": "skip"})
    assert len(data.y_train) == 6
    assert pixels(data) == [
        each for each in expected(range(4)) if each[1:] not in ((13, 21), (13, 22))
    ]
    assert len(data.skipped) == 2
    assert f"train/dog/1.{ending}" in data.skipped[0]


def test_an_event_outside_of_the_sensor_is_refused_with_its_place(kind: Any, pack: Pack) -> None:
    write, ending, name, _ = kind
    with pytest.raises(DataError, match=r"column 1[23], row 2") as caught:
        read(pack(class_folders(write, ending), "zip"), name, settings={"sensor": "10x10"})
    assert "sensor" in caught.value.hint


def test_a_recording_of_nothing_is_damaged(kind: Any, pack: Pack) -> None:
    write, ending, _, _ = kind
    files = class_folders(write, ending)
    files[f"train/cat/0.{ending}"] = write(at(0, 0, count=0).reshape(0, 4))
    with pytest.raises(DataError, match="holds no event"):
        read(pack(files, "zip"))


def test_frames_are_previewed_and_kept(kind: Any, pack: Pack, tmp_path: Path) -> None:
    write, ending, _, _ = kind
    data = read(pack(class_folders(write, ending), "zip"))
    save(data, tmp_path / "kept")
    kept = load(tmp_path / "kept")
    np.testing.assert_array_equal(kept.x_train, data.x_train)
    made = preview(kept)
    assert made.layout["steps"] == [*range(1, 11)]
    assert made.layout["activity"] == [[4, 0]] * 5 + [[0, 4]] * 5


def test_a_pixel_with_more_than_255_events_makes_floats(pack: Pack) -> None:
    files = class_folders(structured, "npy")
    files["train/dog/3.npy"] = structured(at(13, 23, count=5000))
    data = read(pack(files, "zip"), settings={"timesteps": 5}, format="event-arrays")
    assert data.x_train.dtype == data.x_test.dtype == np.float32
    assert data.x_train[-1].sum() == 5000
    assert data.x_train[0].sum() == EVENTS


def test_n_mnist_is_read_as_it_is_distributed(pack: Pack) -> None:
    files = {
        f"{split}/{digit}/{index:05d}.bin": forty_bits(at(3 + digit, 30 + index % 4))
        for split, rows in (("Train", range(2)), ("Test", range(2, 3)))
        for digit in range(10)
        for index in rows
    }
    data = read(pack(files, "zip"))
    assert data.class_names == tuple("0123456789")
    assert (len(data.y_train), len(data.y_test)) == (20, 10)
    assert data.sample_shape == (2, 34, 34)


def test_the_clock_of_n_mnist_goes_on_where_it_ran_over(pack: Pack) -> None:
    events = at(12, 20)
    events[20:, 3] -= 2**13
    events[20:22, 3] = 20 * STEP - 2**13, 21 * STEP - 2**13
    over = bytes([0, 240, 0, 0, 0])
    content = forty_bits(events[:20]) + over + forty_bits(events[20:])
    files = class_folders(forty_bits, "bin")
    files["train/cat/0.bin"] = content
    data = read(pack(files, "zip"))
    np.testing.assert_array_equal(
        data.x_train[0], read(pack(class_folders(forty_bits, "bin"), "zip")).x_train[0]
    )


def test_n_caltech101_leaves_its_annotations_out_and_is_reduced(pack: Pack) -> None:
    files = {
        f"N-Caltech101/Caltech101/{name}/image_{index:04d}.bin": forty_bits(at(200 + label, 170))
        for label, name in enumerate(("BACKGROUND_Google", "accordion"))
        for index in range(5)
    }
    files["N-Caltech101/Caltech101_annotations/accordion/annotation_0001.bin"] = b"outline"
    data = read(pack(files, "zip"))
    assert data.class_names == ("BACKGROUND_Google", "accordion")
    assert data.x_train.shape[1:] == (10, 2, 90, 120)
    assert {each[1:] for each in pixels(data)} == {(100, 85)}
    assert any(d.value == "120x90" for d in data.decisions)


def test_dvs128_gesture_is_cut_and_split_as_its_tables_say(pack: Pack) -> None:
    data = read(pack(gestures(), "tar.gz"))
    assert (len(data.y_train), len(data.y_test), data.classes) == (22, 11, 11)
    assert "hand clapping" in data.class_names
    assert {name: column for name, column, _ in pixels(data, "test")} == {
        "hand clapping": 2,
        "right hand wave": 4,
        "left hand wave": 6,
        "right arm clockwise": 8,
        "right arm counter clockwise": 10,
        "left arm clockwise": 12,
        "left arm counter clockwise": 14,
        "arm roll": 16,
        "air drums": 18,
        "air guitar": 20,
        "other gestures": 22,
    }
    assert [d.value for d in data.decisions if d.setting == "split"] == ["trials_to_train.txt"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"user01_led_labels.csv": b"class,a,b\n1,x,3\n"}, "line 2: class, start and end"),
        ({"trials_to_test.txt": b"nobody.aedat\n"}, "no recordings to test on"),
        ({"user02_lab.aedat": b"#!AER-DAT3.1\r\nno end"}, "11 of 33 recordings"),
        ({"user02_lab.aedat": b"#!AER-DAT1.0\r\n"}, "AEDAT 1.0; 2.0 and 3.1 are read"),
    ],
)
def test_broken_tables_and_recordings_of_gestures_are_refused(
    changes: Files, says: str, pack: Pack
) -> None:
    with pytest.raises(DataError) as caught:
        read(pack(gestures(**changes), "zip"))
    assert says in str(caught.value)
    assert caught.value.hint


def test_gestures_of_tonic_are_of_the_class_that_their_file_is_called(pack: Pack) -> None:
    files = {
        f"ibmGesture{split}/user{user:02d}_fluorescent/{k}.npy": npy(at(2 * k, 3).astype(float))
        for split, users in (("Train", (1, 2)), ("Test", (24,)))
        for user in users
        for k in range(11)
    }
    data = read(pack(files, "tar.gz"))
    assert data.class_names == tuple(str(k) for k in range(11))
    assert [(name, column) for name, column, _ in pixels(data, "test")] == [
        (str(k), 2 * k) for k in sorted(range(11), key=str)
    ]


def test_polarities_of_minus_one_and_one_are_taken(pack: Pack) -> None:
    def write(events: np.ndarray) -> bytes:
        return npy(events * [1, 1, 2, 1] - [0, 0, 1, 0])

    data = read(pack(class_folders(write, "npy"), "zip"))
    assert data.x_train.sum(axis=(1, 3, 4)).tolist() == [[20, 20]] * 8


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
        (npz(frames=np.zeros((6, 2, 12, 10, 400_000), bool)), "more than 256 MiB"),
    ],
    ids=["shape", "negative", "nan", "keys", "cut", "pickle", "magic", "bomb"],
)
def test_a_broken_cache_is_refused(content: bytes, says: str, pack: Pack) -> None:
    files = cache(lambda label, index: np.ones((6, 2, 12, 10), np.uint8))
    files["frames_number_6_split_by_number/train/1/user01_1.npz"] = content
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


@pytest.mark.parametrize("packed", [False, True])
def test_shd_is_read_as_it_is_distributed(packed: bool, pack: Pack) -> None:
    files = shd()
    if packed:
        files = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    path = pack(files, "zip")
    assert detect(path) == "spiking-hdf5"
    data = read(path)
    assert data.x_train.shape == (6, 100, 700, 1, 1)
    assert (data.class_names, data.unit) == (("zero", "one", "zwölf"), 1)
    assert data.y_test.tolist() == [2, 1, 0]
    assert data.x_train.sum(axis=(1, 2, 3, 4)).tolist() == [30] * 6
    step, unit = np.nonzero(data.x_train[2][:, :, 0, 0])
    assert unit[np.argsort(step)].tolist() == [7 * j + 2 for j in range(30)]
    assert (step[0], step[-1]) == (1, 99)
    assert any("steps of 2.949 ms" in d.why for d in data.decisions)


def test_ssc_has_a_validation_split_and_steps_of_a_stated_length(pack: Pack) -> None:
    files = {f"ssc_{split}.h5": spikes([0, 1, 2]) for split in ("train", "valid", "test")}
    data = read(pack(files, "tar"), "spiking-hdf5", settings={"step_ms": 20})
    assert data.x_val is not None
    assert data.x_val.shape == (3, 15, 700, 1, 1)
    assert data.x_train[0].sum(axis=(1, 2, 3)).tolist() == [2] * 15
    short = read(pack(files, "tar"), "spiking-hdf5", settings={"step_ms": 20, "timesteps": 5})
    assert short.x_train.sum() == 3 * 10
    assert any("left out" in decision.why for decision in short.decisions)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (spikes([0, 1, 2])[:-200], "damaged"),
        (spikes([0, 1, 2], times=np.full(30, np.nan)), "times"),
        (spikes([0, 1, 2], times=np.full(30, -1.0)), "negative times"),
        (spikes([0, 1, 2], times=np.full(30, np.inf)), "infinite times"),
        (spikes([0, 1, 2], times=np.zeros(29)), "29 times and 30 units"),
        (spikes([0, 1, 2], units=np.full(30, 5000)), "unit 5000"),
        (b"\x89HDF\r\n\x1a\n", "damaged"),
    ],
)
def test_broken_lists_of_spikes_are_refused(content: bytes, says: str, pack: Pack) -> None:
    with pytest.raises(DataError) as caught:
        read(pack(shd(shd_test=content), "zip"))
    assert says in str(caught.value)
    assert caught.value.hint


def test_what_a_file_of_spikes_links_to_is_not_read(pack: Pack, tmp_path: Path) -> None:
    import h5py

    (tmp_path / "secret").write_bytes(np.arange(3, dtype=np.uint16).tobytes())

    def changed(change: Callable[[Any], None]) -> bytes:
        out = io.BytesIO(spikes([0, 1, 2]))
        with h5py.File(out, "r+") as file:
            del file["labels"]
            change(file)
        return out.getvalue()

    def external(file: Any) -> None:
        file.create_dataset("labels", (3,), np.uint16, external=[(str(tmp_path / "secret"), 0, 6)])

    def link(file: Any) -> None:
        file["labels"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "labels")

    def soft(file: Any) -> None:
        file["labels"] = h5py.SoftLink("/extra/speaker")

    def virtual(file: Any) -> None:
        layout = h5py.VirtualLayout((3,), np.uint16)
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "labels", (3,))
        file.create_virtual_dataset("labels", layout)

    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["labels"] = np.arange(3, dtype=np.uint16)
    for change, says in (
        (external, "lie in other files"),
        (virtual, "lie in other files"),
        (link, "links are not followed"),
        (soft, "links are not followed"),
    ):
        with pytest.raises(DataError, match=says):
            read(pack(shd(shd_train=changed(change)), "zip"))


def test_spikes_without_h5py_say_which_package_is_missing(
    pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(shd(), "zip")
    monkeypatch.setattr("saf.data.formats.format.find_spec", lambda package: None)
    with pytest.raises(DataError, match="needs the package h5py"):
        read(path)


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


def test_where_no_recording_can_be_read_leaving_them_out_is_no_remedy(pack: Pack) -> None:
    files = class_folders(lambda events: structured(events)[:-3], "npy")
    with pytest.raises(DataError, match="12 of 12") as caught:
        read(pack(files, "zip"))
    assert "on_damaged" not in caught.value.hint
    assert "The file was cut short" in caught.value.hint


def lists(labels: list[int], keys: list[bytes] | None = None) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for path, dtype in (("spikes/times", np.float32), ("spikes/units", np.uint16)):
            values = file.create_dataset(path, (len(labels),), h5py.vlen_dtype(dtype))
            for row in range(len(labels)):
                values[row] = (
                    np.array([row / 10 + 0.1, 1.0], dtype) if dtype == np.float32 else [3, 5]
                )
        file["labels"] = np.array(labels)
        if keys:
            file["extra/keys"] = np.array(keys)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("labels", "keys", "names"),
    [
        ([1, 2, 3] * 2, None, ("1", "2", "3")),
        ([0, 5, 9] * 2, None, ("0", "5", "9")),
        ([1, 2, 3] * 2, [b"a", b"b", b"c"], ("a", "b", "c")),
        ([0, 1, 2] * 2, [b"a", b"b", b"c"], ("a", "b", "c")),
    ],
)
def test_classes_of_lists_of_spikes_are_those_that_occur_or_are_named(
    labels: list[int], keys: Any, names: tuple[str, ...], pack: Pack
) -> None:
    files = {"my_train.h5": lists(labels, keys), "my_test.h5": lists(labels[:3], keys)}
    data = read(pack(files, "zip"))
    assert data.class_names == names
    assert data.y_train.tolist() == [0, 1, 2, 0, 1, 2]


def test_files_of_spikes_that_name_other_classes_are_refused(pack: Pack) -> None:
    files = {
        "my_train.h5": lists([0, 1] * 3, [b"a", b"b"]),
        "my_test.h5": lists([0, 1], [b"b", b"a"]),
    }
    with pytest.raises(DataError, match="name different classes"):
        read(pack(files, "zip"))


@pytest.mark.parametrize(
    ("folder", "split"), [("eval", "test"), ("Evaluation", "test"), ("dev", "val")]
)
def test_all_names_of_splits_are_known_for_recordings(folder: str, split: str, pack: Pack) -> None:
    files = class_folders(structured, "npy")
    more = {
        f"{folder}/{name.partition('/')[2]}": own
        for name, own in files.items()
        if name.startswith("test/")
    }
    if split == "test":
        files = {name: own for name, own in files.items() if not name.startswith("test/")}
    data = read(pack(files | more, "zip"))
    assert len(getattr(data, f"y_{split}")) == 4
