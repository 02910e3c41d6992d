"""Sets of recordings as they are distributed: N-MNIST, N-Caltech101, DVS128 Gesture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from saf.data import read
from saf.errors import DataError
from tests.saf.data.recordings import (
    STEP,
    Files,
    at,
    class_folders,
    forty_bits,
    gestures,
    npy,
    pixels,
)

Pack = Callable[[Mapping[str, bytes], str], Path]


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
        ({"user03_led.aedat": b"#!AER-DAT3.1"}, "1 of 4 recordings have no _labels.csv"),
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
