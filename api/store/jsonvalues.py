"""Reading of JSON columns: a value that is no JSON does not stop a query."""

from __future__ import annotations

import json
from typing import Any

_DECODER = json.JSONDecoder(parse_constant=lambda _: None)


class Unreadable(dict[str, Any]):
    """Placeholder for a value that is no JSON: an empty object."""


def read_json(text: Any) -> Any:
    """A value of a JSON column; NaN and infinities are null, what is no JSON is `Unreadable`."""
    if isinstance(text, bool | int | float):
        return text  # SQLite takes a text that looks like a number for one
    try:
        return _DECODER.decode(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError, AttributeError):
        return Unreadable()
