"""Settings that several formats share: what the owner of files says where they leave it open.

A format takes up those that it understands as fields, `layout: Layout = None`; None says nothing.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

_AXES = "NTCHW"
LARGEST = 1e30
"""Ends of ranges are no larger, and no nearer to one another than its inverse."""


def _axes(value: str | None) -> str | None:
    if value is None:
        return None
    axes = re.sub(r"[\s,]+", "", value.upper())
    if "N" not in axes or len(set(axes)) != len(axes) or set(axes) - set(_AXES):
        raise ValueError("name each axis once, N (samples) among N T C H W, such as 'N H W C'")
    return " ".join(axes)


def _range(value: str | None) -> str | None:
    if value is None:
        return None
    low, high = ends_of(value)
    return f"{_number(low)}..{_number(high)}"


def _size(value: str | None) -> str | None:
    if value is None:
        return None
    width, height = sides_of(value)
    return f"{width}x{height}"


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def ends_of(value: str) -> tuple[float, float]:
    """The lowest and highest value that "0..255" names. Raises ValueError."""
    number = r"(-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,3})?)"
    match = re.fullmatch(rf"\s*{number}\s*(?:\.\.|…)\s*{number}\s*", value, re.IGNORECASE)
    low, high = (float(match[1]), float(match[2])) if match else (0.0, 0.0)
    if not (low < high and max(-low, high) <= LARGEST and high - low >= 1 / LARGEST):
        raise ValueError("say the lowest and the highest value, such as '0..255' or '-1..1'")
    return low, high


def sides_of(value: str) -> tuple[int, int]:
    """(width, height) in pixels that "64x48" or "64" names. Raises ValueError."""
    match = re.fullmatch(r"\s*(\d{1,5})\s*(?:[x×]\s*(\d{1,5})\s*)?", value, re.IGNORECASE)
    if match is None or not int(match[1]) or not int(match[2] or match[1]):
        raise ValueError("say width and height in pixels, such as '64x48', or one side: '64'")
    return int(match[1]), int(match[2] or match[1])


Layout = Annotated[str | None, AfterValidator(_axes), Field(description="Axes: 'N H W C'")]
"""Order of the axes of sample arrays: N samples, T time steps, C channels, H height, W width."""
ValueRange = Annotated[str | None, AfterValidator(_range), Field(description="'0..4095'")]
"""The lowest and highest value that a sample can have, black and white of images."""
Size = Annotated[str | None, AfterValidator(_size), Field(description="'32x32', width × height")]
"""Images are scaled so that they cover this size, and cropped to it in the middle."""
LabelsFrom = Annotated[str | None, Field(max_length=1024, description="'folders', 'labels.csv'")]
"""Where labels are found: "folders", or the name of a file inside; "labels.csv:column"."""
Split = Annotated[str | None, Field(max_length=1024, description="'holdout', or a file's name")]
"""How training and test samples are told apart: "holdout" (a fifth of each class, always the
same), "folders", or the name of a file inside that lists them."""
OnDamaged = Annotated[Literal["refuse", "skip"] | None, Field(description="default: refuse")]
"""Whether samples that cannot be read are left out, and counted, or the whole set is refused."""

SHARED = {
    "layout": "order of the axes of sample arrays, such as 'N H W C'",
    "value_range": "the lowest and the highest value of a sample, such as '0..4095'",
    "size": "width and height that images are scaled and cropped to, such as '32x32'",
    "labels_from": "where labels are found: 'folders', or a file inside, such as 'labels.csv'",
    "split": "how test samples are told apart: 'holdout', 'folders', or a file that lists them",
    "on_damaged": "'skip' leaves out samples that cannot be read and counts them; else 'refuse'",
}
"""The names of these settings, in the words that forms and commands show."""
