"""Problem documents (RFC 9457): what every error leaves as, made here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import ConfigDict
from starlette.responses import JSONResponse

from api.errors import FieldError, Met
from api.web.schemas import Document

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


class ProblemField(Document):
    """An error in one field."""

    pointer: str
    """JSON pointer (RFC 6901) into the body; the name of a header or query parameter else."""
    detail: str


class ProblemLimit(Document):
    """A limit of a user or a project that a request has met."""

    name: str
    """As `GET /v1/limits` has it."""
    of: str
    """Name of the user or project."""
    most: float
    used: float


class Problem(Document):
    """RFC 9457."""

    model_config = ConfigDict(
        json_schema_serialization_defaults_required=False,  # `limit` may be missing
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
        },
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
    limit: ProblemLimit | None = None
    """Only where a request met a limit that an admin of the service can raise."""


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
    limit: Met | None = None,
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
    } | ({} if limit is None else {"limit": limit._asdict()})
    return JSONResponse(body, status, headers, media_type=MEDIA_TYPE)


def _phrase(status: int) -> str:
    return _PHRASES.get(status) or HTTPStatus(status).phrase
