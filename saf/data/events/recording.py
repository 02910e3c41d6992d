"""What a recording of an event camera is, whatever it was stored in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saf.errors import DataError

Array = NDArray[Any]
MOST_BYTES = 384 * 2**20
"""Of one file of a recording, which is decoded as a whole."""


class Events(NamedTuple):
    """Events (N) in the order in which they were recorded."""

    x: Array
    """Column of the pixel, from the left."""
    y: Array
    """Row of the pixel, from the top."""
    p: Array
    """Polarity: 1 where it became brighter, 0 where it became darker."""
    t: Array
    """Time, integers in µs, or floats in any unit."""

    def within(self, start: int, stop: int) -> Events:
        """Those with start ≤ t < stop."""
        chosen = (self.t >= start) & (self.t < stop)
        return Events(*(values[chosen] for values in self))


def cut_short(name: str, what: str) -> DataError:
    """The refusal of a file that ends inside of an event."""
    return DataError(
        f"{name} ends inside {what}",
        hint="The file was cut short; fetch or write it again.",
    )


def no_header(name: str, what: str) -> DataError:
    """The refusal of a file whose beginning is not that of its kind."""
    return DataError(f"{name} is no {what}: its header is broken", hint="Send the original files.")


def header_lines(data: bytes, mark: bytes, name: str, most: int = 2**16) -> tuple[list[str], int]:
    """The lines at the beginning that start with `mark`, and where the data after them begin."""
    lines, at = [], 0
    while data.startswith(mark, at):
        end = data.find(b"\n", at)
        if end < 0 or end > most:
            raise no_header(name, "file of events with a header of text")
        lines.append(data[at:end].decode("latin-1").strip())
        at = end + 1
    return lines, at


def none_of(name: str) -> DataError:
    """The refusal of a recording in which nothing happened."""
    return DataError(f"{name} holds no event", hint="Leave the recording out.")


LONGEST = 2**53
"""The largest difference of two times, which floats and sums of them still hold."""


def since_first(times: Array) -> Array:
    """Times counted from the smallest: int64 of integers, which may be those of a clock that counts
    from 1970, else floats. Raises ValueError."""
    if times.dtype.kind == "f":
        values = times.astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError("times that are no numbers")
        values = values - values.min()
    elif times.dtype.kind in "iu":
        low, high = int(times.min()), int(times.max())
        if high - low > LONGEST:
            raise ValueError(f"times from {low} to {high}")
        wide = times.astype(np.int64) if times.dtype.kind == "i" else times
        values = (wide - wide.dtype.type(low)).astype(np.int64)
    else:
        raise ValueError(f"times of type {times.dtype}")
    if values.max() > LONGEST:
        raise ValueError("times too large for numbers")
    return values


_COUNTER = 2**32
"""After so many µs the clock of a camera with 32 bits begins anew."""
_MANY = 20
"""Events that say whether a recording is in order."""


def in_one_run(times: Array, name: str) -> Array:
    """Times of events in the order in which they were recorded, of which a counter of 32 bits may
    have begun anew: it is counted on. Times in no order stay as they are. Raises DataError where
    they go back far just a few times."""
    if len(times) < 2:
        return times
    steps = np.diff(times)
    back = np.flatnonzero(steps < 0)
    if not len(back) or len(back) > max(1, len(times) // 100):
        return times
    if times.dtype.kind != "f":
        anew = steps < -(_COUNTER // 2)
        if anew.any() and int(steps.min()) >= -_COUNTER:
            times = times.astype(np.int64)
            times[1:] += _COUNTER * np.cumsum(anew)
            return times
    first = int(back[np.argmin(steps[back])])
    is_far = -float(steps[first]) * 2 > float(times.max()) - float(times.min())
    if is_far and len(times) >= _MANY:
        raise DataError(
            f"{name}: the times go back from {times[first]} to {times[first + 1]} after event "
            f"{first + 1:,}, as where a clock was set back, or several recordings are in one file",
            hint="Cut the recording there; or sort the events by time, if they are of one clock.",
        )
    return times


def unsigned(values: Array) -> Array:
    """Integers of any type as int64; floats that are whole numbers, too. Raises ValueError."""
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or (values != np.floor(values)).any():
            raise ValueError("numbers that are no integers")
        if np.abs(values, dtype=np.float64).max(initial=0) > 2**53:
            raise ValueError("numbers too large for integers")
    elif values.dtype.kind not in "iub":
        raise ValueError(f"values of type {values.dtype}")
    return values.astype(np.int64)
