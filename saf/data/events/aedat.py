"""AEDAT files of iniLabs' cameras, versions 2.0 and 3.1.

https://docs.inivation.com/software/software-advanced-usage/file-formats (AEDAT 2.0, 3.1). A header
of lines that begin with "#", then in 2.0 pairs of address and time, 32 bits each, the highest byte
first; in 3.1 packets, of which those with polarity events are read.
"""

from __future__ import annotations

import re
import struct

import numpy as np

from saf.data.events.recording import Events, cut_short, header_lines, no_header
from saf.errors import DataError

MAGIC = b"#!AER-DAT"
_PACKET = struct.Struct("<hhiiiiii")
_POLARITY = 1  # type of a packet
_SIDE = 127  # the last pixel of a DVS128


def version_of(start: bytes, name: str) -> tuple[int, int]:
    """(2, 0), (3, 1) … as the first line says. Raises DataError."""
    match = re.match(rb"#!AER-DAT(\d+)\.(\d+)", start)
    if match is None:
        raise no_header(name, "AEDAT file")
    return int(match[1]), int(match[2])


def decode(data: bytes, name: str) -> Events:
    """The events of a file, the picture upright. Raises DataError."""
    major, minor = version_of(data[:32], name)
    if major == 2:
        return _version_2(data, name)
    if (major, minor) == (3, 1):
        return _version_3(data, name)
    raise DataError(
        f"{name} is AEDAT {major}.{minor}; 2.0 and 3.1 are read",
        hint="Convert the recordings, or bin them into frames and send an .npz of N T C H W.",
    )


def _version_2(data: bytes, name: str) -> Events:
    """Of a DVS128, as CIFAR10-DVS has them: polarity in bit 0, then two coordinates of 7 bits, from
    the bottom and from the right. They are turned as SpikingJelly does it."""
    _, start = header_lines(data, b"#", name)
    if (len(data) - start) % 8:
        raise cut_short(name, "an event of 8 bytes")
    pairs = np.frombuffer(data, ">u4", offset=start).reshape(-1, 2).astype(np.int64)
    address, t = pairs[:, 0], pairs[:, 1]
    if (address >> 15).any():
        raise DataError(
            f"{name} holds addresses of another camera than a DVS128",
            hint="Bin the recordings into frames and send an .npz of N T C H W.",
        )
    return Events(
        x=_SIDE - ((address >> 8) & _SIDE),
        y=_SIDE - ((address >> 1) & _SIDE),
        p=1 - (address & 1),
        t=t,
    )


def _version_3(data: bytes, name: str) -> Events:
    end = data.find(b"#!END-HEADER")
    end = data.find(b"\n", end) + 1 if end >= 0 else 0
    if not 0 < end <= 2**16:
        raise no_header(name, "AEDAT 3.1 file")
    parts, at = [], end
    while at < len(data):
        if len(data) - at < _PACKET.size:
            raise cut_short(name, "the header of a packet")
        kind, _, size, _, overflow, capacity, number, _ = _PACKET.unpack_from(data, at)
        at += _PACKET.size
        length = size * capacity
        if min(size, capacity, number, overflow) < 0 or number > capacity:
            raise DataError(f"{name} has a broken packet", hint="Send the original files.")
        if at + size * number > len(data):
            raise cut_short(name, "a packet")
        if kind == _POLARITY:
            if size != 8:
                raise DataError(
                    f"{name} has polarity events of {size} bytes; 8 are expected",
                    hint="Send the original files.",
                )
            pairs = np.frombuffer(data, "<u4", 2 * number, at).reshape(-1, 2).astype(np.int64)
            pairs = pairs[(pairs[:, 0] & 1) == 1]  # those that are marked as valid
            pairs[:, 1] += overflow << 31
            parts.append(pairs)
        at += max(length, 0)
    pairs = np.concatenate(parts) if parts else np.zeros((0, 2), np.int64)
    word = pairs[:, 0]
    return Events(x=(word >> 17) & 0x7FFF, y=(word >> 2) & 0x7FFF, p=(word >> 1) & 1, t=pairs[:, 1])
