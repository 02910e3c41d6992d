"""Numbers, times and sizes as people read them; `static/web/format.js` writes them the same way."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from saf import sizes

# JavaScript rounds what lies halfway away from zero, Python to the even neighbour.
_EXACT = Context(prec=400, rounding=ROUND_HALF_UP)


def duration(seconds: float | None) -> str:
    """A length of time in at most two units, such as `3 min 20 s`."""
    if seconds is None:
        return ""
    whole = int(Decimal(seconds).to_integral_value(ROUND_HALF_UP))
    for name, length, part, of in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= length:
            rest = whole % length // of
            return (
                f"{whole // length} {name} {rest} {part}" if rest else f"{whole // length} {name}"
            )
    return f"{whole} s"


def age(moment: str) -> str:
    """Time since a moment in ISO 8601, in one unit."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    for name, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {name}"
    return f"{max(0, int(seconds))} s"


def percent(value: float | None, digits: int = 2) -> str:
    """A share as a percentage; a dash for none."""
    if value is None:
        return "–"
    return f"{_fixed(100 * value, digits)} %" if math.isfinite(value) else "NaN"


def number(value: float | None) -> str:
    """A value of a metric in about four figures; `NaN` for none and for what is not finite."""
    if value is None or not math.isfinite(value):
        return "NaN"
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        return f"{_figures(value, 3):.2e}"
    return _rounded(value, 4)


def metric(value: float | None, name: str) -> str:
    """A value of a metric as a person wants it: shares in percent, times in milliseconds."""
    if value is None or not math.isfinite(value):
        return "NaN"
    if name.endswith("accuracy") or name.startswith("firing_rate"):
        return percent(value)
    if name == "device_use":
        return percent(value, 0)
    if name.endswith("_bytes"):
        return sizes.readable(int(value))
    if name.endswith("_seconds"):
        return f"{_rounded(1000 * value, 3)} ms"
    return number(value)


def amount(value: float) -> str:
    """A large number in three figures with k, M, G or T."""
    for unit in ("", " k", " M", " G"):
        if abs(value) < 999.5:
            return f"{_rounded(value, 3)}{unit}"
        value /= 1000
    return f"{_rounded(value, 3)} T"


def joules(picojoules: float) -> str:
    """An energy in three figures."""
    value = picojoules
    for unit in ("pJ", "nJ", "µJ", "mJ"):
        if abs(value) < 999.5:
            return f"{_rounded(value, 3)} {unit}"
        value /= 1000
    return f"{_rounded(value, 3)} J"


def clock_time(moment: str) -> str:
    """A time in ISO 8601 as people write it, in UTC."""
    return datetime.fromisoformat(moment).strftime("%Y-%m-%d %H:%M:%S UTC")


def pretty(value: Any) -> str:
    """A JSON value for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _fixed(value: float, digits: int) -> str:
    """A number with so many digits after the point, as `toFixed`."""
    exact = Decimal(value or 0.0)  # no negative zero
    return f"{exact.quantize(Decimal(1).scaleb(-digits), context=_EXACT):f}"


def _figures(value: float, figures: int) -> Decimal:
    """Rounded to so many figures, as `toPrecision`."""
    return Context(prec=figures, rounding=ROUND_HALF_UP).create_decimal(Decimal(value))


def _rounded(value: float, figures: int) -> str:
    rounded = _figures(value, figures).normalize()
    if not rounded:
        return "0"
    return f"{rounded:f}" if 1e-6 <= abs(rounded) < 1e21 else f"{rounded:e}"
