"""What links in mails lead to. To look changes nothing, since programs that guard mail boxes follow
links; a button does. The one to stop is also what mail programs send by themselves (RFC 8058)."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.store.database import clock
from api.web.dependencies import ServiceDependency
from api.web.rendering import page
from api.webhooks.mail import addresses
from api.webhooks.mail.addresses import box
from api.webhooks.mail.links import Purpose, opened

router = APIRouter(prefix="/mail", include_in_schema=False)


@router.get("/confirm/{token}")
def confirmation(request: Request, service: ServiceDependency, token: str) -> Response:
    """Asks whether the address is theirs who reads this."""
    return _asking(request, service, "confirm", token)


@router.post("/confirm/{token}")
def confirm(request: Request, service: ServiceDependency, token: str) -> Response:
    """From now on the address is told."""
    _check(service, "confirm", token)
    with service.database.writing() as session:
        row = opened(session, "confirm", token)
        row.confirmed_at = row.confirmed_at or clock(session)
        return _done(request, "confirm", box(row.url))


@router.get("/stop/{token}")
def stopping(request: Request, service: ServiceDependency, token: str) -> Response:
    """Asks whether mails are to stop."""
    return _asking(request, service, "stop", token)


@router.post("/stop/{token}")
def stop(request: Request, service: ServiceDependency, token: str) -> Response:
    """No more mails, until somebody there confirms anew that they are to come, or, at the box that
    is its owner's, that one switches them on."""
    _check(service, "stop", token)
    with service.database.writing() as session:
        row = opened(session, "stop", token)
        addresses.stop(session, row)
        return _done(request, "stop", box(row.url), is_own=row.confirmed_at is not None)


def _check(service: ServiceDependency, purpose: Purpose, token: str) -> None:
    """NotFoundError for what is no link: anybody may send that, and holds up nobody who writes."""
    with service.database.reading() as session:
        opened(session, purpose, token)


def _asking(request: Request, service: ServiceDependency, purpose: Purpose, token: str) -> Response:
    with service.database.reading() as session:
        row = opened(session, purpose, token)
        is_done = row.confirmed_at if purpose == "confirm" else row.disabled_at
        context = {"purpose": purpose, "token": token, "box": box(row.url), "done": bool(is_done)}
        context["is_own"] = row.confirmed_at is not None
    return page(request, "webhooks/mail_link.html", context)


def _done(request: Request, purpose: Purpose, address: str, *, is_own: bool = True) -> Response:
    context = {"purpose": purpose, "token": "", "box": address, "done": True, "is_own": is_own}
    return page(request, "webhooks/mail_link.html", context)
