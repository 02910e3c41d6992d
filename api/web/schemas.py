"""What the API answers with: the JSON of a job, of a line of its timeline, and of lists.

Times are ISO 8601 in UTC, numbers that are none (NaN, infinities) are null, addresses are paths on
this server.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Timestamp = Annotated[
    str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-01-31T12:00:00.000Z"])
]


class Document(BaseModel):
    """Base of everything that is sent."""

    model_config = ConfigDict(
        use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
    )


T = TypeVar("T")


class Listing(Document, Generic[T]):
    """One page of a list; ask for the next one with `after=<last_id>`."""

    # For each `Listing[…]` pydantic would look for a class of this name in every frame of the
    # stack, which made up half a second of the start of each process.
    model_config = ConfigDict(use_attribute_docstrings=False)

    object: Literal["list"] = "list"
    data: list[T]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


def iso(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def maybe_iso(seconds: float | None) -> str | None:
    """As `iso`; nothing stays nothing."""
    return None if seconds is None else iso(seconds)


def finite(value: float | None) -> float | None:
    """The number, or None where JSON has none for it."""
    return value if value is not None and math.isfinite(value) else None


def without_nan(value: Any) -> Any:
    """A JSON value in which every NaN and infinity is null."""
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, Mapping):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(entry) for entry in value]
    return value
