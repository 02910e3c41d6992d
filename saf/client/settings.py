"""What the client and the commands read of the environment: which server, and what it is sent."""

from __future__ import annotations

from typing import TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

S = TypeVar("S", bound="ClientSettings")


class ClientSettings(BaseSettings):
    """Read from `SAF_URL`, `SAF_TOKEN`, `SAF_PROJECT` and `SAF_HEADERS`."""

    model_config = SettingsConfigDict(
        env_prefix="SAF_", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    url: str = "http://127.0.0.1:8000"
    """Where the commands of `saf` find the server."""
    token: str = Field(default="", repr=False)
    """What they and the Python client send as `Authorization: Bearer`."""
    project: str = ""
    """Name of the project that what they make belongs to; empty: to the user alone."""
    headers: dict[str, str] = Field(default={}, repr=False)
    """Headers that they send with every request, as a JSON object."""


def settings() -> ClientSettings:
    """The settings of the client. Ends the process, with one line, where they cannot be used."""
    return read(ClientSettings)


def read(kind: type[S], *, without_prefix: tuple[str, ...] = ()) -> S:
    """Settings from the environment. Ends the process, with one line, where they cannot be used;
    in it, variables of the names in `without_prefix` have no `SAF_`."""
    try:
        return kind()
    except ValidationError as error:
        told = _in_words(error, without_prefix)
        raise SystemExit(f"the settings cannot be used: {told}") from None
    except SettingsError as error:
        raise SystemExit(f"the settings cannot be used: {error}; give it as JSON") from None


def _in_words(error: ValidationError, without_prefix: tuple[str, ...]) -> str:
    """What is wrong with which variable; no value, as it may hold a password."""
    found = []
    for entry in error.errors(include_url=False, include_input=False):
        name = str(entry["loc"][0]) if entry["loc"] else ""
        name = name.upper().removeprefix("SAF_")
        name = name if name.lower() in without_prefix else f"SAF_{name}"
        message = entry["msg"].removeprefix("Value error, ")
        found.append(f"{name}: {message}" if entry["loc"] else message)
    return "; ".join(found)
