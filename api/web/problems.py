"""Every error leaves as `application/problem+json` (RFC 9457), made here and nowhere else."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, get_args, get_origin

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy.exc import DataError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from api.errors import (
    DamagedFileError,
    FieldError,
    ServiceError,
    TooManyError,
    UnauthorizedError,
    UnavailableError,
)
from api.store.blobs.base import StoreError
from api.store.blobs.verified import DamagedError
from api.store.database import is_starved, took_too_long, why_away
from api.web.schemas import Document
from saf.config import JobSpecification, json_pointer
from saf.config.choice import Choice, choice_of

MEDIA_TYPE = "application/problem+json"
CODES = {  # of errors that the framework finds
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    413: "too_large",
    409: "conflict",
    412: "precondition_failed",
    415: "unsupported_media_type",
    423: "locked",
    460: "checksum_mismatch",
}
_PHRASES = {460: "Checksum Mismatch"}  # of tus, which HTTP does not have
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
MOST_FIELDS = 50  # of those that are wrong, in one answer
LONGEST = 1000  # characters of what is said of one of them
log = logging.getLogger(__name__)


class ProblemField(Document):
    """An error in one field."""

    pointer: str
    """JSON pointer (RFC 6901) into the body; the name of a header or query parameter else."""
    detail: str


class Problem(Document):
    """RFC 9457."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:saf:problem:invalid_request",
                    "title": "The request cannot be used as it is",
                    "status": 422,
                    "detail": "/neuron/decay: Input should be less than or equal to 1",
                    "code": "invalid_request",
                    "request_id": "req_01k8x6v3m4t5w7y9z2b4d6f8h0",
                    "errors": [
                        {
                            "pointer": "/neuron/decay",
                            "detail": "Input should be less than or equal to 1",
                        }
                    ],
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    """What to change."""
    code: str
    """The same for programs."""
    request_id: str
    errors: list[ProblemField]


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of an endpoint's errors."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": _phrase(status),
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in statuses
    }


def problem(
    request_id: str,
    status: int,
    detail: str,
    *,
    code: str | None = None,
    title: str | None = None,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The response for an error."""
    phrase = _phrase(status)
    name = code or CODES.get(status, f"http_{status}")
    body: dict[str, Any] = {
        "type": f"urn:saf:problem:{name}",
        "title": title or phrase,
        "status": status,
        "detail": detail,
        "code": name,
        "request_id": request_id,
        "errors": [error._asdict() for error in errors],
    }
    return JSONResponse(body, status, headers, media_type=MEDIA_TYPE)


def handle(request: Request, error: Exception) -> Response:
    """The one error handler."""
    request_id = request_id_of(request)
    match error:
        case ServiceError():
            return problem(
                request_id,
                error.status,
                error.detail,
                code=error.code,
                title=error.title,
                errors=error.errors,
                headers=_headers_of(error),
            )
        case RequestValidationError():
            return _invalid(request_id, request, error)
        case HTTPException(status_code=405):
            methods = _methods(request, error)
            asked = request.scope.get("state", {}).get("method", request.method)
            detail = f"this address takes {methods}, not {asked}"
            return problem(request_id, 405, detail, headers={"Allow": methods})
        case HTTPException(status_code=404, detail="Not Found"):
            return problem(request_id, 404, "there is nothing at this address")
        case HTTPException():
            return problem(request_id, error.status_code, str(error.detail), headers=error.headers)
        case DamagedError():
            damaged = DamagedFileError(
                f"the file {error.sha256}", "put it back from a backup, and run `saf scrub`"
            )
            return handle(request, damaged)
        case StoreError():
            log.error("the artifact store cannot be used: %s", error)
            detail = f"the artifact store cannot be used: {error}; try again in a moment"
            return problem(
                request_id, 503, detail, code="unavailable", headers={"Retry-After": "5"}
            )
        case DataError() | OverflowError():  # such values should have been refused before
            log.warning("a value that the database cannot hold: %s", _first_line(error))
            detail = "a value of the request is larger than the database can hold"
            return problem(request_id, 422, detail, code="invalid_request")
        case OperationalError() | InterfaceError() | PoolTimeoutError():
            log.error("the database does not answer: %s", _first_line(error))
            return problem(
                request_id,
                503,
                _why_away(error),
                code="unavailable",
                headers={"Retry-After": "5"},
            )
        case _:
            raise error


def install(app: FastAPI) -> None:
    """Send every error of an application through `handle`."""
    known = (
        ServiceError,
        RequestValidationError,
        HTTPException,
        DamagedError,
        StoreError,
        DataError,
        OverflowError,
        OperationalError,
        InterfaceError,
        PoolTimeoutError,
    )
    for kind in known:
        app.add_exception_handler(kind, handle)


def _phrase(status: int) -> str:
    return _PHRASES.get(status) or HTTPStatus(status).phrase


def request_id_of(request: Request) -> str:
    """The id that the middleware gave the request."""
    return str(request.scope.get("state", {}).get("request_id", ""))


def _methods(request: Request, error: HTTPException) -> str:
    """All methods of the address, of whichever route; the framework names those of the first.

    Routes may be nested, so each is asked whether it takes a method. One that takes all of them is
    an application of its own, which has named them. Where an address has a route of its own, those
    that take it for the value of a parameter do not count.
    """
    path = request.scope["path"]
    found = {
        method
        for route in iter_route_contexts(request.app.routes)
        if route.path_format and "{" not in route.path_format and route.path_regex.match(path)
        for method in route.methods or ()
    } or {
        method
        for method in METHODS
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }
    if error.headers and found in (METHODS, set()):
        return error.headers.get("Allow", "")
    return ", ".join(sorted(found | ({"HEAD"} if "GET" in found else set())))


def _headers_of(error: ServiceError) -> dict[str, str]:
    match error:
        case TooManyError():
            return {"Retry-After": str(error.retry_after)}
        case UnavailableError():
            return {"Retry-After": "5"}
        case UnauthorizedError():
            return {"WWW-Authenticate": 'Bearer realm="saf"'}
    return {}


def _why_away(error: SQLAlchemyError) -> str:
    said = _first_line(error)
    if " while the service runs" in said or "the database is damaged" in said:
        return why_away(error)
    if took_too_long(error):
        return (
            "the database needs longer for this than SAF_STATEMENT_SECONDS allow, and nothing was "
            "stored; ask for less: fewer filters, a smaller range"
        )
    if is_starved(error):
        return (
            "all connections to the database are in use; try again in a moment. "
            "SAF_DATABASE_CONNECTIONS says how many each process of the API may have"
        )
    if "disk is full" in said or "No space left" in said or "disk I/O error" in said:
        return (
            "the disk of the database is full or fails, and nothing was stored; make room there, "
            "then try again"
        )
    if "due to lock timeout" in said:
        return "many want to write at this moment, and nothing was stored; try again in a moment"
    if "database is locked" in said:
        return (
            "another process keeps the database locked, or many want to write, and nothing was "
            "stored; try again in a moment, and if that does not help look for a worker that was "
            "stopped (SIGSTOP)"
        )
    return "the database does not answer; try again in a moment"


def fields_of(error: ValidationError, most: int) -> list[FieldError]:
    """What is wrong with a specification that is a part of a request, by field, `most` of them."""
    entries = error.errors(include_input=False, include_url=False)[:most]
    return [
        _field({**entry, "loc": ("body", *entry["loc"])}, JobSpecification) for entry in entries
    ]


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _invalid(request_id: str, request: Request, error: RequestValidationError) -> JSONResponse:
    found = error.errors()
    if any(entry["type"] == "json_invalid" for entry in found):
        (entry,) = found
        why = f"the body is no JSON: {entry['ctx']['error']} at character {entry['loc'][-1]}"
        return problem(request_id, 400, why, code="invalid_json", title="Invalid JSON")
    if isinstance(error.body, bytes) and error.body:
        given = request.headers.get("content-type") or "no content type"
        return problem(
            request_id,
            415,
            f"send the body as application/json; this request has {given}",
            code="unsupported_media_type",
        )
    errors = [_field(entry, _body_model(request)) for entry in found[:MOST_FIELDS]]
    more = f"; and {len(found) - MOST_FIELDS} more" if len(found) > MOST_FIELDS else ""
    return problem(
        request_id,
        422,
        "; ".join(f"{pointer or 'body'}: {detail}" for pointer, detail in errors) + more,
        code="invalid_request",
        title="The request cannot be used as it is",
        errors=errors,
    )


def _body_model(request: Request) -> Any:
    """Model of the body of this request."""
    route = request.scope.get("route")
    body = route.body_field if isinstance(route, APIRoute) else None
    return None if body is None else body.field_info.annotation


def _field(entry: Mapping[str, Any], model: Any) -> FieldError:
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
