"""Writes recordings of events in exactly the layouts that they are distributed in, without the code
under test.

Every recording holds 40 events on its own pixel, one each 1000 µs; the first half became darker.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from saf.data import Dataset

Files = dict[str, bytes]
EVENTS = 40
STEP = 1000  # µs


def at(x: int, y: int, count: int = EVENTS, start: int = 0) -> np.ndarray:
    """Events `count` × 4 at one pixel: x, y, p, t."""
    index = np.arange(count)
    columns = [index * 0 + x, index * 0 + y, index * 2 // max(count, 1), start + index * STEP]
    return np.stack(columns, axis=1)


def forty_bits(events: np.ndarray) -> bytes:
    return b"".join(
        bytes([x, y, p << 7 | t >> 16 & 0x7F, t >> 8 & 0xFF, t & 0xFF])
        for x, y, p, t in events.tolist()
    )


def aedat_2(events: np.ndarray) -> bytes:
    """As CIFAR10-DVS: seen upright, the axes of the camera run against those of the picture."""
    head = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n"
    return head + b"".join(
        struct.pack(">II", (127 - x) << 8 | (127 - y) << 1 | 1 - p, t)
        for x, y, p, t in events.tolist()
    )


def aedat_3(events: np.ndarray, packet: int = 16) -> bytes:
    """As DVS128 Gesture, with a packet of another type and an event that is not valid."""
    parts = [b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"]
    parts.append(struct.pack("<hhiiiiii", 0, 1, 8, 4, 0, 1, 1, 1) + bytes(8))
    words = [(x << 17 | y << 2 | p << 1 | 1, t) for x, y, p, t in events.tolist()]
    words.append((5 << 17 | 5 << 2, 0))
    for start in range(0, len(words), packet):
        some = words[start : start + packet]
        head = struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, len(some), len(some), len(some))
        parts.append(head + b"".join(struct.pack("<II", *word) for word in some))
    return b"".join(parts)


def dat(events: np.ndarray, head: bytes = b"% Data file containing CD events.\n") -> bytes:
    words = (struct.pack("<II", t, p << 28 | y << 14 | x) for x, y, p, t in events.tolist())
    return head + bytes([0x0C, 8]) + b"".join(words)


def evt_2(events: np.ndarray) -> bytes:
    words = []
    for x, y, p, t in events.tolist():
        words += [0x8 << 28 | t >> 6, p << 28 | (t & 0x3F) << 22 | x << 11 | y]
    return b"% evt 2.0\n% end\n" + np.array(words, "<u4").tobytes()


def evt_3(events: np.ndarray, head: bytes = b"% evt 3.0\n% end\n") -> bytes:
    words = []
    for index, (x, y, p, t) in enumerate(events.tolist()):
        words += [0x8000 | t >> 12, 0x6000 | t & 0xFFF, y]
        if index % 2:
            words.append(0x2000 | p << 11 | x)
        else:  # the same as a vector of 12 of which the last is set, and an empty one of 8
            words += [0x3000 | p << 11 | x - 11, 0x4800, 0x5000]
    return head + np.array(words, "<u2").tobytes()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def structured(events: np.ndarray) -> bytes:
    kind = [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")]
    array = np.zeros(len(events), kind)
    for column, name in enumerate("xypt"):
        array[name] = events[:, column]
    return npy(array)


def spikingjelly_events(events: np.ndarray) -> bytes:
    return npz(**{name: events[:, column] for column, name in enumerate("xypt")})


def class_folders(
    write: Callable[[np.ndarray], bytes], ending: str, train: str = "train", test: str = "test"
) -> Files:
    """Two classes with four recordings to train and two to test: pixel (12 + class, 20 + i)."""
    return {
        f"{split}/{name}/{index}.{ending}": write(at(12 + label, 20 + index))
        for split, rows in ((train, range(4)), (test, range(4, 6)))
        for label, name in enumerate(("cat", "dog"))
        for index in rows
    }


KINDS: dict[str, tuple[Callable[[np.ndarray], bytes], str, str, tuple[int, int]]] = {
    "40 bits": (forty_bits, "bin", "event-bin", (34, 34)),
    "AEDAT 2.0": (aedat_2, "aedat", "aedat", (128, 128)),
    "AEDAT 3.1": (aedat_3, "aedat", "aedat", (128, 128)),
    "structured": (structured, "npy", "event-arrays", (34, 34)),
    "columns": (lambda events: npy(events.astype(float)), "npy", "event-arrays", (34, 34)),
    "SpikingJelly": (spikingjelly_events, "npz", "spikingjelly", (34, 34)),
    "dat": (dat, "dat", "prophesee", (34, 34)),
    "EVT 2.0": (evt_2, "raw", "prophesee", (34, 34)),
    "EVT 3.0": (evt_3, "raw", "prophesee", (34, 34)),
}


def gestures(**changes: bytes) -> Files:
    """DVS128 Gesture of three recordings, two to train; gesture k moves at column 2 k."""
    files: Files = {}
    trials = ("user01_led", "user02_lab", "user24_led")
    for trial in trials:
        events = np.concatenate([at(2 * k, 3, start=10**6 * k) for k in range(1, 12)])
        rows = [f"{k},{10**6 * k},{10**6 * k + EVENTS * STEP}" for k in range(1, 12)]
        files[f"DvsGesture/{trial}.aedat"] = aedat_3(events)
        files[f"DvsGesture/{trial}_labels.csv"] = "\n".join(
            ["class,startTime_usec,endTime_usec", *rows]
        ).encode()
    files["DvsGesture/trials_to_train.txt"] = b"user01_led.aedat\nuser02_lab.aedat\n"
    files["DvsGesture/trials_to_test.txt"] = b"user24_led.aedat\n"
    files["DvsGesture/gesture_mapping.csv"] = b"action,label\nhand_clapping,1\n"
    return files | {f"DvsGesture/{name}": content for name, content in changes.items()}


def cache(frames: Callable[[int, int], np.ndarray]) -> Files:
    return {
        f"frames_number_6_split_by_number/{split}/{label}/user{index:02d}_{label}.npz": npz(
            frames=frames(label, index)
        )
        for split, rows in (("train", range(4)), ("test", range(4, 6)))
        for label in range(3)
        for index in rows
    }


def spikes(labels: list[int], **changes: Any) -> bytes:
    """A file of SHD: sample i has spikes of unit 7 j + i at 10 j + 5 ms."""
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        count = len(labels)
        times = file.create_dataset("spikes/times", (count,), dtype=h5py.vlen_dtype(np.float16))
        units = file.create_dataset("spikes/units", (count,), dtype=h5py.vlen_dtype(np.uint16))
        for index in range(count):
            times[index] = changes.get("times", np.arange(30) / 100 + 0.005)
            units[index] = changes.get("units", np.arange(30) * 7 + index)
        file["labels"] = np.array(labels, np.uint16)
        file["extra/keys"] = np.array([b"zero", b"one", b"zw\xc3\xb6lf"])
        file["extra/speaker"] = np.zeros(count, np.uint16)
    return out.getvalue()


def shd(**changes: bytes) -> Files:
    files = {"shd_train.h5": spikes([0, 1, 2, 0, 1, 2]), "shd_test.h5": spikes([2, 1, 0])}
    return files | {f"{name}.h5": content for name, content in changes.items()}


def pixels(data: Dataset, split: str = "train") -> list[tuple[str, int, int]]:
    """(class, column, row) of each sample; each has exactly `EVENTS` events there."""
    found = []
    for sample, label in zip(getattr(data, f"x_{split}"), getattr(data, f"y_{split}"), strict=True):
        together = sample.sum(axis=(0, 1), dtype=np.int64)
        ((row, column),) = np.argwhere(together)
        assert together[row, column] == EVENTS
        found.append((data.class_names[label], int(column), int(row)))
    return found
