"""Numbers of bytes as people read them; `size` in `api/static/web/format.js` is the same."""

from __future__ import annotations

UNITS = ("KiB", "MiB", "GiB", "TiB")


def readable(count: int) -> str:
    """`512 bytes`, `1.5 MiB`: one digit after the point, of two that are as near the larger."""
    if count < 1024:
        return f"{count} bytes"
    power = min((count.bit_length() - 1) // 10, len(UNITS))
    tenths = (20 * count + 1024**power) // (2 * 1024**power)
    return f"{tenths // 10}.{tenths % 10} {UNITS[power - 1]}"
