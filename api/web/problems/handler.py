"""The one error handler: what each exception becomes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy.exc import DataError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from api.errors import (
    DamagedFileError,
    ServiceError,
    TooManyError,
    UnauthorizedError,
    UnavailableError,
)
from api.store.blobs.base import StoreError
from api.store.blobs.verified import DamagedError
from api.store.database import is_starved, took_too_long, why_away
from api.web.problems.documents import problem
from api.web.problems.fields import field_of

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
MOST_FIELDS = 50  # of those that are wrong, in one answer
log = logging.getLogger(__name__)


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
                limit=error.limit if isinstance(error, TooManyError) else None,
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


def _headers_of(error: ServiceError) -> Mapping[str, str]:
    match error:
        case TooManyError():
            return error.headers
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


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


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
    errors = [field_of(entry, _body_model(request)) for entry in found[:MOST_FIELDS]]
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
