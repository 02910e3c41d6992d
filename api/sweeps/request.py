"""The jobs that a sweep asks for: one specification, and values for some of its settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, product
from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from api.errors import FieldError, InvalidRequestError
from api.web.problems.fields import fields_of
from saf.config import JobSpecification
from saf.config.base import Strict
from saf.config.json_pointer import is_choice, parts_of, pointer, put

MOST_JOBS = 200
MOST_SETTINGS = 8
TOLD, SHOWN = 10, 3  # of the fields that are wrong: in the list, and in the sentence
NAME_LENGTH, VALUE_LENGTH = 200, 40
NAME = "/name"

Values = Annotated[list[Any], Field(min_length=1, max_length=MOST_JOBS)]


class SweepRequest(Strict):
    """Many jobs from one specification."""

    name: Annotated[
        str, StringConstraints(max_length=120, strip_whitespace=True, pattern=r"^[^\x00]*$")
    ] = ""
    """Free text for people; the jobs are named for it and for their values."""
    job: dict[str, Any] = Field(default_factory=dict, examples=[{"dataset": "digits", "epochs": 5}])
    """What all jobs share, as the body of `POST /v1/jobs`; defaults may be left out."""
    over: Annotated[
        dict[Annotated[str, StringConstraints(max_length=500)], Values],
        Field(
            min_length=1,
            max_length=MOST_SETTINGS,
            examples=[{"/method/name": ["saf-e", "saf-f"], "/seed": [0, 1, 2]}],
        ),
    ]
    """Values of settings, by JSON pointers into the specification. A value may be an object, as
    `{"name": "vgg11"}` for `/network`. Where `/method/name` changes the method, what `job` sets for
    another one is left behind, and so for other choices."""
    mode: Literal["grid", "zip"] = "grid"
    """`grid`: every value with every other, the last setting changing fastest. `zip`: the first
    values of all settings, then the second ones, …; all need as many."""

    @field_validator("job", "over")
    @classmethod
    def _storable(cls, value: dict[str, Any]) -> dict[str, Any]:
        if any(_is_unstorable(text) for text in _texts(value)):
            raise ValueError("holds a character that cannot be stored (U+0000 or half of a pair)")
        return value

    @model_validator(mode="after")
    def _countable(self) -> Self:
        places = [parts_of(key) for key in self.over]
        for one in places:
            for other in places:
                if one is not other and other[: len(one)] == one:
                    raise ValueError(f"{pointer(one)} and {pointer(other)} set the same key")
        lengths = [len(values) for values in self.over.values()]
        if self.mode == "zip" and len(set(lengths)) > 1:
            raise ValueError(
                f"with mode zip all settings need as many values; here they have {lengths}"
            )
        if self.count > MOST_JOBS:
            raise ValueError(f"that makes {self.count} jobs, and {MOST_JOBS} are the most")
        return self

    @property
    def count(self) -> int:
        """How many jobs there are."""
        lengths = [len(values) for values in self.over.values()]
        return prod(lengths) if self.mode == "grid" else lengths[0]

    def settings(self) -> list[dict[str, Any]]:
        """The values of each job, by pointer."""
        of_all = self.over.values()
        chosen = product(*of_all) if self.mode == "grid" else zip(*of_all, strict=True)
        return [dict(zip(self.over, values, strict=True)) for values in chosen]


def specifications(request: SweepRequest) -> list[JobSpecification]:
    """The specification of each job. Raises InvalidRequestError, with pointers to fields and the
    values that they go wrong with, where one could not be a job; not all of them are told."""
    own = _own_name(request)
    found = []
    errors: list[FieldError] = []
    shared = json.dumps(request.job)  # read again, it is copied ten times faster than by deepcopy
    for settings in request.settings():
        body = json.loads(shared)
        said = told(settings)
        try:
            _fill(body, settings)
            if NAME not in settings:
                body["name"] = own
            if isinstance(body["name"], str):
                body["name"] = _named(body["name"], settings)
            found.append(JobSpecification.model_validate(body))
        except ValidationError as error:
            errors += [
                FieldError(f"/job{field.pointer}", f"{field.detail} (with {said})")
                for field in fields_of(error, TOLD)
            ]
        except ValueError as error:
            errors.append(FieldError("/over", f"{error} (with {said})"))
        if len(errors) >= TOLD:
            break
    if errors:
        shown = "; ".join(f"{field}: {detail}" for field, detail in errors[:SHOWN])
        more = "; and more" if len(errors) > SHOWN else ""
        raise InvalidRequestError(shown + more, errors=errors[:TOLD])
    return found


def told(settings: Mapping[str, Any]) -> str:
    """The values of a job for people: `decay = 0.5, seed = 1`."""
    names = short(settings)
    return ", ".join(f"{names[place]} = {value_told(value)}" for place, value in settings.items())


def short(settings: Iterable[str]) -> dict[str, str]:
    """Pointers to settings, and each by its last part for people: by all of them where that is the
    same for two. The `name` of a choice is the choice: `/method/name` is `method`."""
    found = {}
    for place in settings:
        *outer, last = parts_of(place)
        found[place] = outer[-1] if outer and last == "name" else last
    names = list(found.values())
    return {
        place: name if names.count(name) == 1 else ".".join(parts_of(place))
        for place, name in found.items()
    }


def value_told(value: Any) -> str:
    """A value for people; an object with a name by it, and what is long by its beginning."""
    text = _in_words(value)
    return text if len(text) <= VALUE_LENGTH else f"{text[: VALUE_LENGTH - 1]}…"


def _in_words(value: Any, depth: int = 0) -> str:
    if depth > 2 and isinstance(value, dict | list):
        return "…"  # what is shown has ended long before
    match value:
        case {"name": str(name), **rest}:
            inner = ", ".join(f"{key} {_in_words(one, depth + 1)}" for key, one in _first(rest))
            return f"{name[:VALUE_LENGTH]} ({inner})" if inner else name
        case dict():
            inner = ", ".join(f"{key} {_in_words(one, depth + 1)}" for key, one in _first(value))
            return inner or "–"
        case list():
            shown = (_in_words(one, depth + 1) for one in islice(value, VALUE_LENGTH))
            return " ".join(shown) or "–"
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:g}"
    return str(value)


def _first(value: Mapping[Any, Any]) -> Iterable[tuple[Any, Any]]:
    return ((str(key)[:VALUE_LENGTH], one) for key, one in islice(value.items(), VALUE_LENGTH))


def _own_name(request: SweepRequest) -> str:
    """Name that the jobs are derived from. Raises InvalidRequestError."""
    if "name" not in request.job:
        return request.name
    try:
        return JobSpecification.model_validate({"name": request.job["name"]}).name or request.name
    except ValidationError as error:
        field = fields_of(error, 1)[0]
        raise InvalidRequestError.at("/job/name", field.detail) from error


def _fill(body: dict[str, Any], settings: Mapping[str, Any]) -> None:
    """Put values into a specification, names of choices first: what belongs to another method,
    network or optimizer is none of this one's."""
    places = [parts_of(place) for place in settings]
    chosen = list(zip(places, settings.values(), strict=True))
    for parts, value in sorted(chosen, key=lambda one: one[0][-1] != "name"):
        match parts:
            case [key, "name"] if is_choice(key):
                old = body.get(key)
                if isinstance(old, dict) and old.get("name", value) != value:
                    body[key] = {}
        put(body, parts, json.loads(json.dumps(value)))


def _named(base: str, settings: Mapping[str, Any]) -> str:
    """The values, which tell the jobs apart, after as much of `base` as there is room for."""
    said = told({place: value for place, value in settings.items() if place != NAME})
    room = NAME_LENGTH - len(said) - 2
    if not (base and said):
        return (base or said)[:NAME_LENGTH]
    return f"{base[:room]}: {said}" if room > 0 else said[:NAME_LENGTH]


def _texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys too."""
    match value:
        case str():
            yield value
        case dict():
            for key, inner in value.items():
                yield key
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)


def _is_unstorable(text: str) -> bool:
    return "\0" in text or any("\ud800" <= character <= "\udfff" for character in text)
