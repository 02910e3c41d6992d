"""Fields of a request that are wrong: pydantic's errors as JSON pointers and sentences."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from api.errors import FieldError
from saf.config import JobSpecification, json_pointer
from saf.config.choice import Choice, choice_of

LONGEST = 1000  # characters of what is said of one of them


def fields_of(error: ValidationError, most: int) -> list[FieldError]:
    """What is wrong with a specification that is a part of a request, by field, `most` of them."""
    entries = error.errors(include_input=False, include_url=False)[:most]
    return [
        field_of({**entry, "loc": ("body", *entry["loc"])}, JobSpecification) for entry in entries
    ]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def field_of(entry: Mapping[str, Any], model: Any) -> FieldError:
    """One of pydantic's errors, in a body that should be a `model`, as a pointer and a sentence."""
    pointer, detail = _whole_field(entry, model)
    return FieldError(_short(pointer), _short(detail))


def _whole_field(entry: Mapping[str, Any], model: Any) -> FieldError:
    place, *path = entry["loc"]
    if place != "body":
        return FieldError(str(path[0]) if path else str(place), _detail(entry))
    parts, last = _without_tags(path, model)
    pointer = json_pointer.pointer(parts)
    match entry["type"]:
        case "extra_forbidden" if last.owner is not None:
            known = sorted(last.owner.model_fields)
            near = difflib.get_close_matches(str(parts[-1])[:LONGEST], known, n=1)
            guess = f"; did you mean {near[0]!r}" if near else ""
            return FieldError(pointer, f"there is no such key{guess}; known are {', '.join(known)}")
        case "union_tag_not_found" if last.key is not None:
            names = ", ".join(repr(tag) for member in last.members for tag in member.tags(last.key))
            return FieldError(pointer, f"is an object with a {last.key!r}, one of {names}")
        case _:
            return FieldError(pointer, _detail(entry))


def _detail(entry: Mapping[str, Any]) -> str:
    message: str = entry["msg"]
    match entry["type"]:
        case "missing":
            return "is required"
        case "value_error":
            return str(entry.get("ctx", {}).get("error", message))
        case "union_tag_invalid":
            tag, expected = entry["ctx"]["tag"], entry["ctx"]["expected_tags"]
            return f"there is no {tag!r}; use one of {expected}"
        case _:
            return message


@dataclass(frozen=True)
class _Place:
    """A place in the specification: a value of this type, in this model."""

    annotation: Any
    key: str | None = None  # of a union: the key that says which member is meant
    owner: type[BaseModel] | None = None
    choice: Choice | None = None  # a union of what is registered

    @property
    def members(self) -> list[_Place]:
        """Members of a union."""
        if self.choice is not None:
            return [_Place(member) for member in self.choice.members()]
        return [_Place(member) for member in get_args(self.annotation)]

    def tags(self, key: str) -> tuple[Any, ...]:
        """The values of `key` that mean this model."""
        return get_args(self.annotation.model_fields[key].annotation)

    def inside(self, part: str | int) -> _Place:
        """The place that a key or an index leads to."""
        if isinstance(self.annotation, type) and issubclass(self.annotation, BaseModel):
            field = self.annotation.model_fields.get(str(part))
            if field is None:
                return _Place(None, owner=self.annotation)
            choice = choice_of(field)
            if choice is not None:
                return _Place(field.annotation, "name", self.annotation, choice)
            key = field.discriminator if isinstance(field.discriminator, str) else None
            return _Place(field.annotation, key, self.annotation)
        if get_origin(self.annotation) in (tuple, list):
            item = get_args(self.annotation)[0]
            if get_origin(item) is not Annotated:
                return _Place(item)
            item, *constraints = get_args(item)
            keys = (getattr(each, "discriminator", None) for each in constraints)
            return _Place(item, next((key for key in keys if isinstance(key, str)), None))
        return _Place(None)

    def chosen(self, tag: Any) -> _Place:
        """The member of a union."""
        assert self.key is not None
        return next(member for member in self.members if tag in member.tags(self.key))


def _without_tags(path: Sequence[str | int], model: Any) -> tuple[list[str | int], _Place]:
    """A path into the body without what pydantic adds to it, and the place of its last part.

    pydantic names the chosen member of a union after the union's field (`method`, `saf-e`,
    `trace`), and marks the keys of a dictionary with `[key]`.
    """
    kept: list[str | int] = []
    here, last = _Place(model), _Place(None)
    rest = [part for part in path if part != "[key]"]
    while rest:
        part = rest.pop(0)
        kept.append(part)
        here = last = here.inside(part)
        if here.key is not None and rest:
            here = here.chosen(rest.pop(0))
    return kept, last
