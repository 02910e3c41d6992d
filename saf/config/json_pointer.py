"""JSON pointers (RFC 6901) into a job specification, and values put where they point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from saf.config import JobSpecification
from saf.config.choice import choice_of


def pointer(parts: Sequence[object]) -> str:
    """`["neuron", "decay"]` as `/neuron/decay`; nothing as the empty pointer."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def parts_of(pointer: str) -> list[str]:
    """`/neuron/decay` as `["neuron", "decay"]`. Raises ValueError for what points to no key."""
    if not pointer.startswith("/") or not all(pointer[1:].split("/")):
        raise ValueError(f"{pointer!r} points to no key; write it as in /neuron/decay")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]


def find(value: Any, pointer: str) -> Any:
    """The value where the pointer points. Raises KeyError where there is none."""
    for part in parts_of(pointer):
        if not isinstance(value, dict):
            raise KeyError(pointer)
        value = value[part]
    return value


def put(body: dict[str, Any], parts: Sequence[str], value: Any) -> None:
    """Set a value of a specification that may lack defaults. Where a choice of several is entered
    for the first time, as a network, it begins with the default, or with the first one that has
    such a setting. Raises ValueError."""
    *outer, last = parts
    for place, part in enumerate(outer, start=1):
        inner = body.setdefault(part, _default_choice(part, parts[place]))
        if not isinstance(inner, dict):
            raise ValueError(f"{part} is a value and has nothing inside")
        body = inner
    body[last] = value


def is_choice(key: str) -> bool:
    """Whether this is a choice of several, as of networks, whose name says what else there is."""
    field = JobSpecification.model_fields.get(key)
    return field is not None and (field.discriminator or choice_of(field)) is not None


def _default_choice(key: str, setting: str) -> dict[str, Any]:
    if not is_choice(key):
        return {}
    field = JobSpecification.model_fields[key]
    if (choice := choice_of(field)) is not None:
        return {"name": choice.for_setting(setting)}
    members = (type(field.default), *get_args(field.annotation))
    fitting = (member for member in members if setting in member.model_fields)
    return {"name": next(fitting, members[0]).model_fields["name"].default}
