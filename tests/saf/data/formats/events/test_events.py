"""Recordings of event cameras and lists of spikes, in the layouts that they are distributed in."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saf.data import detect, load, read, save
from saf.data.preview import preview
from saf.errors import DataError
from tests.saf.data.recordings import (
    EVENTS,
    KINDS,
    STEP,
    at,
    class_folders,
    npy,
    pixels,
    structured,
)

Pack = Callable[[Mapping[str, bytes], str], Path]


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


def test_polarities_of_minus_one_and_one_are_taken(pack: Pack) -> None:
    def write(events: np.ndarray) -> bytes:
        return npy(events * [1, 1, 2, 1] - [0, 0, 1, 0])

    data = read(pack(class_folders(write, "npy"), "zip"))
    assert data.x_train.sum(axis=(1, 3, 4)).tolist() == [[20, 20]] * 8


def test_where_no_recording_can_be_read_leaving_them_out_is_no_remedy(pack: Pack) -> None:
    files = class_folders(lambda events: structured(events)[:-3], "npy")
    with pytest.raises(DataError, match="12 of 12") as caught:
        read(pack(files, "zip"))
    assert "on_damaged" not in caught.value.hint
    assert "The file was cut short" in caught.value.hint


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


@pytest.mark.parametrize("names", ["xs ys timestamps polarity", "X Y ts pol"])
def test_fields_have_the_names_that_people_give_them(names: str, pack: Pack) -> None:
    def renamed(events: np.ndarray) -> bytes:
        array = np.load(io.BytesIO(structured(events)))
        array.dtype.names = tuple(names.split())
        return npy(array)

    data = read(pack(class_folders(renamed, "npy"), "zip"))
    assert pixels(data) == expected(range(4))


def test_recordings_whose_times_were_lost_are_refused(pack: Pack) -> None:
    def timeless(events: np.ndarray) -> bytes:
        array = np.load(io.BytesIO(structured(events)))
        array["t"] = 7
        return npy(array)

    path = pack(class_folders(timeless, "npy"), "zip")
    with pytest.raises(DataError, match="events have one time") as caught:
        read(path)
    assert "bin_by: 'count'" in caught.value.hint
    assert read(path, settings={"bin_by": "count"}).x_train.any(axis=(2, 3, 4)).all()
