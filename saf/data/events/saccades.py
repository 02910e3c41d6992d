"""The `.bin` files of N-MNIST and N-Caltech101: events of 40 bits.

Orchard et al., Converting Static Image Datasets to Spiking Neuromorphic Datasets Using Saccades,
2015: x 8 bits, y 8, polarity 1, time 23 in µs, the highest first. An event in row 240 means that
the clock went on by 2^13 µs.
"""

from __future__ import annotations

import numpy as np

from saf.data.events.recording import Events, cut_short
from saf.errors import DataError

EVENT_BYTES = 5
OVERFLOW_ROW = 240
OVERFLOW = 2**13  # µs
_FEW = 8  # events that may be in any order


def decode(data: bytes, name: str) -> Events:
    """The events of a file. Raises DataError."""
    if len(data) % EVENT_BYTES:
        raise cut_short(name, f"an event of {EVENT_BYTES} bytes")
    raw = np.frombuffer(data, np.uint8).reshape(-1, EVENT_BYTES).astype(np.int64)
    t = ((raw[:, 2] & 0x7F) << 16) | (raw[:, 3] << 8) | raw[:, 4]
    is_overflow = raw[:, 1] == OVERFLOW_ROW
    t += OVERFLOW * np.cumsum(is_overflow)
    if len(t) >= _FEW and np.count_nonzero(np.diff(t) < 0) * 4 > len(t):
        raise DataError(
            f"{name} holds no events of 40 bits, whose times would follow one another",
            hint="Write bytes of images as .png files, or all into one array: "
            "numpy.savez('data.npz', x_train=…, y_train=…, x_test=…, y_test=…).",
        )
    return Events(*(part[~is_overflow] for part in (raw[:, 0], raw[:, 1], raw[:, 2] >> 7, t)))
