"""Errors of requests, each with an HTTP status and a code for programs.

ServiceError
 ├── InvalidRequestError   422  invalid_request    a field is wrong; `errors` says which
 ├── UnauthorizedError     401  unauthorized       nobody is known to ask
 ├── ForbiddenError        403  forbidden          one may see it, and not do this
 ├── NotFoundError         404  not_found
 ├── ConflictError         409  conflict           the state forbids it
 ├── GoneError             410  gone               it was there and is no longer
 │    └── DamagedFileError 410  damaged            its content is not what was stored
 ├── TooManyError          429  too_many           more than one user may have; `retry_after`
 ├── TooLargeError         413  too_large          more bytes than the limit
 └── UnavailableError      503  unavailable        database or storage does not answer
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Self


class FieldError(NamedTuple):
    """An error in one field: `pointer` is a JSON pointer into the request's body."""

    pointer: str
    detail: str


class Met(NamedTuple):
    """A limit of a user or a project that a request has met, for programs."""

    name: str
    """As `GET /v1/limits` has it."""
    of: str
    """Name of the user or project."""
    most: float
    used: float


class ServiceError(Exception):
    """A request that cannot be served; the message tells the person what to change."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)


class InvalidRequestError(ServiceError):
    """A field of the request is wrong."""

    status = 422
    code = "invalid_request"
    title = "The request cannot be used as it is"

    @classmethod
    def at(cls, pointer: str, detail: str) -> Self:
        """For one field: a JSON pointer into the body, which the message begins with, or the name
        of a parameter, which `detail` says as a whole sentence."""
        said = f"{pointer}: {detail}" if pointer.startswith("/") else detail
        return cls(said, errors=[FieldError(pointer, detail)])


class UnauthorizedError(ServiceError):
    """The request says nobody who may come in."""

    status = 401
    code = "unauthorized"
    title = "Sign in first"


class ForbiddenError(ServiceError):
    """Whoever asks may see the thing, and may not do this with it."""

    status = 403
    code = "forbidden"
    title = "Not allowed"


class NotFoundError(ServiceError):
    """There is no such thing."""

    status = 404
    code = "not_found"
    title = "Not found"


class ConflictError(ServiceError):
    """The state of the thing forbids the request."""

    status = 409
    code = "conflict"
    title = "The state forbids it"


class GoneError(ServiceError):
    """The thing was there and is no longer."""

    status = 410
    code = "gone"
    title = "Gone"


class DamagedFileError(GoneError):
    """A file whose content is not what was stored: it is not used and not sent."""

    code = "damaged"
    title = "Damaged"

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(
            f"{what} is damaged in the artifact store, and what is damaged is not used: {remedy}"
        )


class TooLargeError(ServiceError):
    """More bytes than the limit."""

    status = 413
    code = "too_large"
    title = "Too large"


class TooManyError(ServiceError):
    """More than one user may have at once; `retry_after` seconds later it may be possible."""

    status = 429
    code = "too_many"
    title = "Too many"

    def __init__(
        self,
        detail: str,
        *,
        retry_after: int,
        limit: Met | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.limit = limit
        self.headers = {"Retry-After": str(retry_after), **(headers or {})}


class UnavailableError(ServiceError):
    """Something that the service needs does not answer."""

    status = 503
    code = "unavailable"
    title = "Unavailable"


def unreadable(name: str, error: OSError) -> UnavailableError:
    """Error for a file that a failing or full disk does not give."""
    reason = error.strerror or type(error).__name__
    return UnavailableError(f"the file {name} cannot be read: {reason}; look at the disk")
