"""What a request says of how files are to be read: settings by name, each said once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException

from api.errors import FieldError, InvalidRequestError
from api.web.multipart import MAX_FIELD_BYTES
from saf.data import FORMATS
from saf.data.formats.format import known_settings


def read_settings(body: bytes) -> dict[str, Any]:
    """A JSON object of texts, finite numbers, truth values and null. Raises HTTPException for what
    is no JSON, and InvalidRequestError for a key that stands there twice, of which one would be
    ignored, and for values that no setting has."""
    repeated: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            repeated.extend(name for name in found if names.count(name) > 1)
        return found

    try:
        found = json.loads(body, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidRequestError('the body is no JSON object; one looks like {"upload": "up_…"}')
    errors = [
        FieldError(f"/{_plain(name)}", "stands there twice; say it once") for name in repeated
    ]
    errors += [
        FieldError(f"/{_plain(name)}", detail)
        for name, value in found.items()
        if (detail := _wrong(value))
    ]
    if errors:
        raise InvalidRequestError(f"{errors[0].pointer}: {errors[0].detail}", errors=errors)
    return found


def check_settings(given: Mapping[str, Any]) -> None:
    """InvalidRequestError for settings that no format has, and for what is no value of any; the
    check looks at the others."""
    known = known_settings()
    unknown = f"there is no such setting; known are {', '.join(sorted(known))}"
    if errors := [
        FieldError(f"/{_plain(name)}", detail)
        for name, value in given.items()
        if (detail := _wrong(value) if name in known else unknown)
    ]:
        raise InvalidRequestError(f"{errors[0].pointer}: {errors[0].detail}", errors=errors)


def check_format(name: str) -> None:
    """InvalidRequestError unless there is such a format, or it is to be found out."""
    if name != "auto" and name not in FORMATS:
        known = ", ".join(FORMATS.names())
        raise InvalidRequestError.at("/format", f"there is no {_plain(name)!r}; use auto, {known}")


def _wrong(value: Any) -> str:
    """Why a value is none of a setting; empty where it may be one."""
    match value:
        case str():
            if len(value.encode(errors="replace")) > MAX_FIELD_BYTES:
                return f"is longer than {MAX_FIELD_BYTES} bytes"
            if "\0" in value or _plain(value, len(value)) != value:
                return "holds the character NUL, or what is no Unicode"
        case bool() | None:
            return ""
        case int() | float():
            if not abs(value) < 2**53:  # NaN is neither
                return "is no number below 2^53"
        case _:
            return "is a text, a number, true or false"
    return ""


def _plain(text: str, most: int = 100) -> str:
    """The beginning of a text, as any answer can hold it."""
    return text[:most].encode(errors="replace").decode()
