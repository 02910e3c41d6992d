"""Numbers of bytes as people read them; `size` in `api/static/web/format.js` is the same."""

from __future__ import annotations

import re

UNITS = ("KiB", "MiB", "GiB", "TiB")
_WRITTEN = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(UNITS)})?")


def readable(count: int) -> str:
    """`512 bytes`, `1.5 MiB`: one digit after the point, of two that are as near the larger."""
    if count < 1024:
        return f"{count} bytes"
    power = min((count.bit_length() - 1) // 10, len(UNITS))
    tenths = (20 * count + 1024**power) // (2 * 1024**power)
    return f"{tenths // 10}.{tenths % 10} {UNITS[power - 1]}"


def exactly(count: int) -> str:
    """`200 GiB`, `1500`: nothing is rounded, and `parsed` reads it."""
    power = 0
    while power < len(UNITS) and count and count % 1024 == 0:
        count, power = count // 1024, power + 1
    return f"{count} {UNITS[power - 1]}" if power else str(count)


def parsed(text: str) -> float:
    """The bytes that a person has written: `1500`, `200GiB`, `1.5 MiB`. ValueError."""
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no number of bytes, such as 200GiB")
    power = 1 + UNITS.index(found[2]) if found[2] else 0
    return float(found[1]) * 1024.0**power
