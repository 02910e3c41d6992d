"""What shape and values of arrays leave open, as questions to their owner with a picture of each
answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saf.data.arrays.axes import Axes, Open
from saf.data.arrays.pictures import SHOWN, picture
from saf.data.arrays.placing import Convert, Target, place, sample_shape
from saf.data.arrays.stored.array import Stored
from saf.data.arrays.survey import Survey, together
from saf.data.arrays.values import OpenRange, Range
from saf.data.dataset import Array
from saf.data.formats.format import Candidate, NeedsChoiceError, Question
from saf.data.sources.source import Source
from saf.errors import DataError


@dataclass(frozen=True)
class Part:
    """Samples of one split, where they lie."""

    stored: Stored
    values: Survey
    labels: NDArray[np.int64]


def values_of(parts: Mapping[str, Part]) -> Survey:
    """What the values of all splits are like; of splits that are whole numbers and others that are
    floats those of the first kind."""
    surveys = [part.values for part in parts.values()]
    return together([each for each in surveys if each.is_integer == surveys[0].is_integer])


def ask(
    parts: Mapping[str, Part],
    axes: Axes | Open,
    ranges: dict[str, Range] | OpenRange | None,
    size: str | None,
    source: Source,
) -> None:
    """Raise NeedsChoiceError where axes or ranges are open. `size` is what the owner said."""
    questions = []
    part = next(iter(parts.values()))
    name = part.stored.name
    if isinstance(axes, Open):
        values = values_of(parts)
        spread = Range(values.lowest, max(values.highest, values.lowest + 1e-6), "")
        candidates = []
        for order in axes.candidates:
            way = Axes(order, "")
            try:
                shape = sample_shape(part.stored, way, size)
            except DataError:
                continue
            shown = _some(part, way, size, spread.scaled, source)
            candidates.append(Candidate(order, _described(way, shape, len(part.labels)), shown))
        asks = (
            f"Which axes has {name}, of shape {part.stored.shape}? N samples, T time steps, "
            "C channels, H height, W width."
        )
        questions.append(Question("layout", asks, tuple(candidates)))
    if isinstance(ranges, OpenRange):
        candidates = []
        for value, means in ranges.candidates:
            shown = None
            if isinstance(axes, Axes):
                low, high = (float(end) for end in value.split(".."))
                convert = Range(low, high, "").scaled
                shown = _some(part, axes, size, convert, source)
            candidates.append(Candidate(value, means, shown))
        asks = (
            f"Which values are black and white? The samples ({name} and others) hold "
            f"{ranges.found}; a network gets them in [0, 1], bytes of 0…255 as value / 255."
        )
        if isinstance(axes, Open) and any("H" not in order for order in axes.candidates):
            asks += " Asked of images alone: series and features need no answer."
        questions.append(Question("value_range", asks, tuple(candidates)))
    if questions:
        raise NeedsChoiceError(source.label, tuple(questions))


def _described(axes: Axes, shape: tuple[int, ...], count: int) -> str:
    if len(shape) == 2:
        return f"{count:,} series of {shape[0]} time steps of {_counted(shape[1])}"
    *steps, channels, height, width = shape
    if steps:
        return (
            f"{count:,} samples of {steps[0]} time steps of {_counted(channels)}, {height} × "
            f"{width} pixels (height × width)"
        )
    if height == width == 1:
        return f"{count:,} samples of {_counted(channels)} without place or time"
    return f"{count:,} images of {_counted(channels)}, {height} × {width} pixels (height × width)"


def _counted(channels: int) -> str:
    return f"{channels} channel{'' if channels == 1 else 's'}"


def _some(
    part: Part, axes: Axes, size: str | None, convert: Convert, source: Source
) -> bytes | None:
    count = min(SHOWN, len(part.labels))
    shape = sample_shape(part.stored, axes, size)
    samples = allocated(source, part.stored.name, (count, *shape), np.dtype(np.float32))
    rows = np.full(len(part.labels), -1, np.int64)
    rows[:count] = np.arange(count)
    place(part.stored, axes, size, [Target(samples, rows)], convert)
    return picture(samples)


def allocated(source: Source, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Memory for samples, whatever their axes. Raises LimitError."""
    if len(shape) > 3:
        return source.allocate(name, shape, dtype)
    return source.allocate(name, (*shape, 1, 1), dtype).reshape(shape)  # no sides of images
