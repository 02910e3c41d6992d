"""Prophesee's files: `.dat` (CD events), `.raw` with EVT 2.0 or EVT 3.0.

https://docs.prophesee.ai/stable/data/encoding_formats. A header of lines that begin with "%", then
little-endian words. Times are in µs.
"""

from __future__ import annotations

import re

import numpy as np

from saf.data.events.recording import Array, Events, cut_short, header_lines
from saf.errors import DataError

MOST_HEADER = 2**17  # bytes of a file that hold its header
_WORD_ENDS = "% end"
_DAT_TYPES = (0x00, 0x0C)  # 2D and CD events, which are laid out alike


def decode_dat(data: bytes, name: str) -> tuple[Events, tuple[int, int] | None]:
    """The events of a `.dat` file, and (width, height) where its header says so."""
    lines, at = header_lines(data, b"%", name)
    if len(data) < at + 2:
        raise cut_short(name, "its header")
    kind, size = data[at], data[at + 1]
    if kind not in _DAT_TYPES or size != 8:
        raise DataError(
            f"{name} holds events of type {kind} with {size} bytes; CD events of 8 are read",
            hint="Send the recordings of CD events (*_td.dat).",
        )
    at += 2
    if (len(data) - at) % 8:
        raise cut_short(name, "an event of 8 bytes")
    pairs = np.frombuffer(data, "<u4", offset=at).reshape(-1, 2).astype(np.int64)
    word = pairs[:, 1]
    events = Events(x=word & 0x3FFF, y=(word >> 14) & 0x3FFF, p=(word >> 28) & 1, t=pairs[:, 0])
    return events, _geometry(lines)


def decode_raw(data: bytes, name: str) -> tuple[Events, tuple[int, int] | None]:
    """The events of a `.raw` file, and (width, height) where its header says so."""
    lines, at = header_lines(data, b"%", name)
    if _WORD_ENDS in lines:
        at = data.index(b"% end") + len("% end")
        at = data.index(b"\n", at) + 1
    said = " ".join(lines).upper().replace(" ", "")
    if re.search(r"EVT3|EVT:?3\.0", said):
        events = _evt3(data[at:], name)
    elif re.search(r"EVT21|EVT:?2\.1", said):
        raise DataError(f"{name} is EVT 2.1; 2.0 and 3.0 are read", hint="Convert it to EVT 3.0.")
    elif re.search(r"EVT2|EVT:?2\.0", said):
        events = _evt2(data[at:], name)
    else:
        raise DataError(
            f"{name} does not say its encoding in the header (% evt 2.0 or % evt 3.0)",
            hint="Send the files as the camera's software writes them.",
        )
    return events, _geometry(lines)


def sensor_of(start: bytes, name: str) -> tuple[int, int] | None:
    """(width, height) where the header at the start of a file says so. Raises DataError."""
    return _geometry(header_lines(start, b"%", name)[0])


def _geometry(lines: list[str]) -> tuple[int, int] | None:
    said = "\n".join(lines)
    if match := re.search(r"geometry\W+(\d{1,5})\s*x\s*(\d{1,5})", said, re.IGNORECASE):
        return int(match[1]), int(match[2])
    width = re.search(r"width\W{1,3}(\d{1,5})", said, re.IGNORECASE)
    height = re.search(r"height\W{1,3}(\d{1,5})", said, re.IGNORECASE)
    return (int(width[1]), int(height[1])) if width and height else None


def _evt2(data: bytes, name: str) -> Events:
    """Words of 32 bits: a type of 4, then the upper 28 bits of the time, or an event."""
    if len(data) % 4:
        raise cut_short(name, "a word of 4 bytes")
    words = np.frombuffer(data, "<u4").astype(np.int64)
    kind = words >> 28
    is_high = kind == 0x8
    high = _last(is_high, (words & 0x0FFF_FFFF) << 6)
    chosen = ((kind == 0) | (kind == 1)) & (np.cumsum(is_high) > 0)
    words, high, kind = words[chosen], high[chosen], kind[chosen]
    return Events(x=(words >> 11) & 0x7FF, y=words & 0x7FF, p=kind, t=high | ((words >> 22) & 0x3F))


def _evt3(data: bytes, name: str) -> Events:
    """Words of 16 bits, each changing the state (row, time, base of a vector) or sending events."""
    if len(data) % 2:
        raise cut_short(name, "a word of 2 bytes")
    words = np.frombuffer(data, "<u2").astype(np.int64)
    kind, value = words >> 12, words & 0xFFF
    y = _last(kind == 0x0, value & 0x7FF)
    t = _times(kind, value)
    is_ready = (np.cumsum(kind == 0x0) > 0) & (np.cumsum(kind == 0x8) > 0)
    # Bases of vectors: where the last one began, and how far later vectors went from there.
    is_base = kind == 0x3
    width = np.where(kind == 0x4, 12, 0) + np.where(kind == 0x5, 8, 0)
    gone = np.cumsum(width) - width  # before this word
    base = _last(is_base, value & 0x7FF) + gone - _last(is_base, gone)
    polarity = _last(is_base, value >> 11)
    single = np.flatnonzero((kind == 0x2) & is_ready)
    columns, order, signs = [value[single] & 0x7FF], [12 * single], [value[single] >> 11]
    is_vector = (width > 0) & is_ready & (np.cumsum(is_base) > 0)
    for bit in range(12):
        hit = np.flatnonzero(is_vector & (width > bit) & ((value >> bit) & 1 == 1))
        columns.append(base[hit] + bit)
        order.append(12 * hit + bit)
        signs.append(polarity[hit])
    places = np.concatenate(order)
    sorting = np.argsort(places, kind="stable")
    word = places[sorting] // 12
    return Events(
        x=np.concatenate(columns)[sorting],
        y=y[word],
        p=np.concatenate(signs)[sorting],
        t=t[word],
    )


def _times(kind: Array, value: Array) -> Array:
    """µs after each word: 12 upper and 12 lower bits, and how often these 24 ran over."""
    is_high = kind == 0x8
    upper = value[is_high]
    overs = np.zeros(len(upper), np.int64)
    overs[1:] = np.cumsum(np.diff(upper) < -0x800)
    high = np.zeros(len(value), np.int64)
    high[is_high] = (overs << 24) | (upper << 12)
    high = _last(is_high, high)
    # The lower bits count from the last upper ones; until new ones come they are 0.
    low_or_high = is_high | (kind == 0x6)
    low = _last(low_or_high, np.where(kind == 0x6, value, 0))
    return high + low


def _last(chosen: Array, values: Array) -> Array:
    """At each place the value at the last chosen place up to it, 0 before there is one."""
    if not len(chosen):
        return np.zeros(0, np.int64)
    at = np.maximum.accumulate(np.where(chosen, np.arange(len(chosen)), -1))
    return np.where(at >= 0, values[np.maximum(at, 0)], 0)
