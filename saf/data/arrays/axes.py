"""The order of the axes of sample arrays: decided where a shape leaves one, else asked.

The number of labels says which axis counts the samples. What is left follows from the lengths of
the others: colours have 1, 3 or 4 channels, polarities 2, and nothing else is so short. Where two
orders fit, nobody but the owner knows.

N samples, T time steps, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from saf.data.arrays.survey import Survey
from saf.data.dataset import MAX_CHANNELS
from saf.data.formats.settings import sides_of
from saf.errors import DataError

_FEW = (1, 2, 3, 4)  # channels
_COLOURS = (1, 3, 4)
_SMALLEST_IMAGE = 8  # pixels on a side, below which a square says little
_MANY_TIMES = 8  # as many values as time steps: or are these the channels?
_FULL = 128  # integers that go up to this fill the range of a byte


@dataclass(frozen=True)
class Axes:
    """What the axes of an array are, one letter each; more letters than axes where each sample is
    a row of values that is to be folded into them, in that order."""

    order: str
    """Such as "N H W C"."""
    why: str
    """For the owner; empty where nothing else was possible."""

    @property
    def is_temporal(self) -> bool:
        """Whether samples change with time."""
        return "T" in self.order


@dataclass(frozen=True)
class Smooth:
    """Along which of three axes, that of samples first, neighbouring values are alike."""

    second: bool
    last: bool


@dataclass(frozen=True)
class Open:
    """More than one order fits."""

    candidates: tuple[str, ...]


Shape = tuple[int, ...]


def axes_of(
    shapes: Mapping[str, Shape],
    counts: Mapping[str, int],
    values: Survey,
    smooth: Callable[[], Smooth],
    *,
    by_columns: bool = False,
) -> Axes | Open:
    """The order for arrays of these shapes by split, with so many labels each. `smooth` says along
    which axes values run smoothly, `by_columns` that rows of pixels may be columns of images.
    Raises DataError where none fits."""
    where = _sample_axes(shapes, counts)
    shape = next(iter(shapes.values()))
    if len(where) > 1:
        return Open(
            tuple(dict.fromkeys(o for n in where for o in _orders(shape, n, values, smooth)))
        )
    orders = _orders(shape, where[0], values, smooth)
    if by_columns and len(shape) == 2 and orders[0] in ("N H W", "H W N"):
        orders = (orders[0], "N W H" if orders[0][0] == "N" else "W H N", *orders[1:])
    if len(orders) > 1:
        return Open(orders)
    return Axes(orders[0], _why(shape, orders[0], counts))


def said(order: str, shapes: Mapping[str, Shape], counts: Mapping[str, int]) -> Axes:
    """The order that the owner said. Raises DataError where it does not fit the shapes."""
    letters = order.split()
    for split, shape in shapes.items():
        flat = len(shape) == 2 and len(letters) > 2 and "N" in (letters[0], letters[-1])
        if len(letters) != len(shape) and not flat:
            raise DataError(
                f"the samples have the shape {shape}, {len(shape)} axes; the layout {order!r} "
                f"names {len(letters)}",
                hint="Name each axis once, such as 'N H W C'.",
            )
        at = (0 if letters[0] == "N" else 1) if flat else letters.index("N")
        if shape[at] != counts[split]:
            raise mismatch(split, shape[at], counts[split])
    return Axes(order, "")


def mismatch(split: str, samples: int, labels: int) -> DataError:
    """The refusal of samples and labels of different number."""
    return DataError(
        f"x_{split} has {samples} samples, and there are {labels} labels for it",
        hint="Give exactly one label per sample.",
    )


def check_alike(shapes: Mapping[str, Shape]) -> None:
    """DataError unless the samples of all splits have one shape."""
    (first, shape), *others = shapes.items()
    called = {"train": "training", "val": "validation"}
    for split, other in others:
        if other != shape:
            raise DataError(
                f"{called.get(first, first)} samples have the shape {shape}, "
                f"{called.get(split, split)} samples {other}",
                hint="Bring all splits to one shape.",
            )


def folded(length: int, order: str, size: str | None, name: str) -> dict[str, int]:
    """The lengths of the axes into which rows of `length` values fold, by letter. `size` is
    "width x height". Raises DataError where they do not."""
    letters = [letter for letter in order.split() if letter != "N"]
    if len(letters) == 1:
        return {letters[0]: length}
    sizes: dict[str, int] = {}
    if "C" in letters:
        for channels in (3, 1, 2, 4):
            if length % channels == 0 and _is_square(length // channels):
                sizes["C"] = channels
                break
    if size is not None:
        sizes["W"], sizes["H"] = sides_of(size)
        area = sizes["W"] * sizes["H"]
        rest = [letter for letter in letters if letter not in "HW"]
        if len(rest) == 1:
            sizes[rest[0]] = length // area
    elif "H" in letters and "W" in letters and "T" not in letters:
        side = math.isqrt(length // sizes.get("C", 1))
        sizes["H"] = sizes["W"] = side
    if (
        any(letter not in sizes for letter in letters)
        or math.prod(sizes[letter] for letter in letters) != length
    ):
        raise DataError(
            f"{name} has {length} values a sample, which do not fold into {order}"
            + (f" of {size}" if size else ""),
            hint="Say their width and height as size, such as '28x28', or send an array with "
            "these axes: x.reshape(-1, 1, 28, 28).",
        )
    return {letter: sizes[letter] for letter in letters}


def _sample_axes(shapes: Mapping[str, Shape], counts: Mapping[str, int]) -> list[int]:
    """The axes that have as many entries as there are labels, in all splits."""
    dimensions = {len(shape) for shape in shapes.values()}
    if len(dimensions) > 1 or not 2 <= min(dimensions) <= 5:
        _refuse_dimensions(shapes, counts)
    fit = [
        axis
        for axis in range(dimensions.pop())
        if all(shape[axis] == counts[split] for split, shape in shapes.items())
    ]
    if not fit:
        split = next(split for split, shape in shapes.items() if shape[0] != counts[split])
        raise mismatch(split, shapes[split][0], counts[split])
    rests = {axis: {(*s[:axis], *s[axis + 1 :]) for s in shapes.values()} for axis in fit}
    alike = [axis for axis in fit if len(rests[axis]) == 1]
    if not alike:
        check_alike({split: (*s[: fit[0]], *s[fit[0] + 1 :]) for split, s in shapes.items()})
    if 0 in alike:
        # Another axis of this length in all splits is chance, unless time may come first.
        shape = next(iter(shapes.values()))
        time_first = len(shape) in (3, 5) and 1 in alike
        return [0, 1] if time_first else [0, len(shape) - 1] if _maybe_last(shape, alike) else [0]
    return alike


def _maybe_last(shape: Shape, alike: Sequence[int]) -> bool:
    """Whether samples may be counted by the last axis although the first fits, too."""
    last = len(shape) - 1
    if last not in alike:
        return False
    return last == 1 or (len(shape) == 4 and shape[2] in _COLOURS and shape[1] not in _COLOURS)


def _refuse_dimensions(shapes: Mapping[str, Shape], counts: Mapping[str, int]) -> None:
    for split, shape in shapes.items():
        if len(shape) == 1 and counts[split] == 0:
            raise DataError(
                f"x_{split} has the shape {shape}, as labels have, and y_{split} that of samples",
                hint="Swap the two: x is for samples, y for labels.",
            )
        if not 2 <= len(shape) <= 5:
            raise DataError(
                f"x_{split} has the shape {shape}",
                hint="Images are N C H W or N H W, event frames N T C H W.",
            )
    described = ", ".join(f"{split} {shape}" for split, shape in shapes.items())
    raise DataError(
        f"the splits have samples of different numbers of axes: {described}",
        hint="Bring all splits to one shape.",
    )


def _orders(shape: Shape, n: int, values: Survey, smooth: Callable[[], Smooth]) -> tuple[str, ...]:
    """The orders that fit, with samples along axis `n`; the likeliest first."""
    rest = (*shape[:n], *shape[n + 1 :])
    if len(shape) == 2:
        orders = _flat(rest[0], values)
    elif len(shape) == 3:
        orders = ("T C",) if n == 1 else _three(rest, values, smooth)
    elif n == 1:
        orders = _time_first(rest)
    elif len(shape) == 4:
        orders = _four(rest, values)
    else:
        orders = _five(rest)
    if n == 1 and len(shape) == 2:
        return tuple(f"{order} N" for order in orders)
    return tuple(" ".join([*order.split()[:n], "N", *order.split()[n:]]) for order in orders)


def _time_first(rest: Shape) -> tuple[str, ...]:
    """Samples are the second axis."""
    if len(rest) == 3:
        return ("C H W", "T H W") if rest[0] in _COLOURS else ("T H W",)
    return tuple(order for order in _five(rest) if order.startswith("T")) or ("T C H W",)


def _flat(length: int, values: Survey) -> tuple[str, ...]:
    row = ("T", "C") if length <= MAX_CHANNELS else ("T",)
    if length % 3 == 0 and _is_square(length // 3) and length >= 3 * _SMALLEST_IMAGE**2:
        return ("C H W", "H W C", *row)
    if _is_square(length) and length > 1:
        large = length >= _SMALLEST_IMAGE**2
        return ("H W",) if large and _like_image(values) else ("H W", *row)
    return row


def _three(rest: Shape, values: Survey, smooth: Callable[[], Smooth]) -> tuple[str, ...]:
    a, b = rest
    if a == b and a >= _SMALLEST_IMAGE:
        return ("H W", "T C", "C T") if _like_counts(values) else ("H W",)
    if a == b:
        return ("H W",) if _like_image(values) else ("H W", "T C", "C T")
    if b == 1:
        return ("T C",)
    if a == 1:
        return ("C T", "T C")
    image = _like_image(values) and (values.kind != "f" or values.bytes_over_255)
    if image and not _like_counts(values):
        sure = min(a, b) > max(_FEW) and values.kind != "b"  # truth values may be spikes
        return ("H W",) if sure else ("H W", "T C", "C T")
    if (
        values.kind == "f"
        and values.whole
        and values.lowest >= 0
        and _FULL <= values.highest <= 255
    ):
        return ("H W", "T C", "C T")  # bytes of pixels as floats, or a signal of 8 bits
    found = smooth()
    if a < b and found.last and not found.second:
        return ("C T", "T C")
    if min(a, b) >= _SMALLEST_IMAGE and found.last and found.second and values.highest <= 1:
        return ("H W", "T C", "C T") if values.lowest >= 0 else ("T C", "C T")
    analogue = values.kind == "f" and not values.whole
    if analogue and a < b and (found.last or b >= _MANY_TIMES * a):
        return ("T C", "C T")  # a spectrum at each step, or leads side by side
    return ("T C",)


def _four(rest: Shape, values: Survey) -> tuple[str, ...]:
    a, b, c = rest
    if a in (2, 3, 4) and c not in _FEW and (_like_counts(values) or values.kind == "b"):
        return ("C H W", "T H W")
    if a in _COLOURS and (c not in _FEW or b == c != a):
        return ("C H W",)
    if a == 1 and min(b, c) > 1:
        return ("C H W",)
    if c in _COLOURS and a == b != c:
        return ("H W C",)
    if c in _COLOURS and a not in _FEW and b > 1:
        return ("H W C",)
    if a == 2 and c not in _FEW:
        return ("C H W",)
    if c == 2 and a not in _FEW and b > 2:
        return ("H W C",)
    if b == c == 1:
        return ("C H W", "T C W")
    if a in _FEW or c in _FEW:
        return ("C H W", "H W C") if a in _FEW and c in _FEW else ("C H W", "T H W", "H W C")
    if a == b != c:
        return ("H W C", "H W T", "C H W", "T H W")
    return ("C H W", "T H W", "H W C", "H W T")


def _five(rest: Shape) -> tuple[str, ...]:
    a, b, c, d = rest
    if c == d == 1 or (a == 1 and b == 1):
        return ("T C H W",)
    last = d in _FEW and c not in _FEW
    if b in _FEW and not last and (a not in _FEW or b <= 2 or (a == 4 and b != 4)):
        return ("T C H W",)
    if last and b not in _FEW and a not in _FEW:
        return ("T H W C",)
    found = ["T C H W"] if b in _FEW or a in _FEW else []
    if a in _FEW:
        found.append("C T H W")
        if b not in _FEW:
            found.append("C H W T")
    if last and b not in _FEW:
        found.append("T H W C")
    return tuple(found) or ("T C H W", "C T H W", "T H W C", "C H W T")


def _like_image(values: Survey) -> bool:
    """Whether values are those that pixels are stored in: bytes that reach the upper half, wide
    integers, or floats in [0, 1]."""
    if values.kind == "b":
        return True
    if values.lowest < 0:
        return False
    if values.is_integer or values.whole:
        return values.highest >= _FULL
    return values.highest <= 1


def _like_counts(values: Survey) -> bool:
    """Whether values are small whole numbers, as counts of spikes are."""
    return values.kind != "b" and values.whole and values.lowest >= 0 and values.highest < _FULL


def _is_square(number: int) -> bool:
    return number > 0 and math.isqrt(number) ** 2 == number


def _why(shape: Shape, order: str, counts: Mapping[str, int]) -> str:
    letters = order.split()
    if order == "N T C H W" and shape[1] <= 3:
        return "time comes before channels, as is usual; where it does not, say N C T H W"
    if order in ("N C H W", "N T C H W"):
        return ""
    reasons = []
    if len(letters) == len(shape):
        if letters[0] != "N":
            reasons.append(
                f"the axis of length {shape[letters.index('N')]} has as many entries as there are "
                "labels"
            )
        if letters[-1] == "C" and len(shape) > 3:
            reasons.append(f"the last axis has {shape[-1]} values, as channels have")
        if order == "N H W":
            reasons.append("each sample has two axes and values as pixels have")
        elif "T" in letters and len(shape) == 3:
            reasons.append("samples of two axes that are no images are steps of several values")
    else:
        reasons.append(
            f"rows of {shape[1] if letters[0] == 'N' else shape[0]} values fold into squares"
        )
    return "; ".join(reasons) or "no other order fits the lengths of the axes"
