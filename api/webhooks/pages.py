"""The page of webhooks: what they are told, what was sent, a button to try each."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from api.errors import InvalidRequestError, ServiceError
from api.store.webhooks import audience, deliveries, outbox
from api.web.asgi import prefix
from api.web.dependencies import Service, ServiceDependency
from api.web.rendering import page
from api.webhooks.routes import (
    check_address,
    enable,
    find_webhooks,
    make_webhook,
    read_webhook,
    try_told,
)
from api.webhooks.schemas import NewWebhook, delivery_document, is_told_whole

router = APIRouter(include_in_schema=False)
MOST_FORM_BYTES = 20_000
SHOWN = 10  # messages of each


@router.get("/webhooks")
def webhooks_page(request: Request, service: ServiceDependency) -> Response:
    """All that one sees."""
    return page(request, "webhooks/webhooks.html", _context(service))


@router.post("/webhooks")
async def add_by_form(request: Request) -> Response:
    """Makes one, and shows its secret, once."""
    body = await request.body()
    if len(body) > MOST_FORM_BYTES:
        raise InvalidRequestError(f"the form has more than {MOST_FORM_BYTES} bytes")
    form = parse_qs(body.decode("utf-8", "replace"))
    return await anyio.to_thread.run_sync(_add, request, form)


@router.post("/webhooks/{webhook}/test")
def try_by_form(service: ServiceDependency, webhook: str) -> Response:
    """Sends a test message."""
    with service.database.writing() as session:
        try_told(session, webhook)
    return RedirectResponse(prefix.at("/webhooks"), 303)


@router.post("/webhooks/{webhook}/enable")
def enable_by_form(service: ServiceDependency, webhook: str) -> Response:
    """Switches one on again."""
    with service.database.writing() as session:
        enable(service, session, read_webhook(session, webhook, lock=True))
    return RedirectResponse(prefix.at("/webhooks"), 303)


@router.post("/webhooks/{webhook}/remove")
def remove_by_form(service: ServiceDependency, webhook: str) -> Response:
    """Removes one."""
    with service.database.writing() as session:
        session.delete(read_webhook(session, webhook, lock=True))
    return RedirectResponse(prefix.at("/webhooks"), 303)


def _add(request: Request, form: dict[str, list[str]]) -> Response:
    service: Service = request.app.state.service
    problem, made = "", None
    try:
        wanted = NewWebhook.model_validate(
            {"url": form.get("url", [""])[0].strip(), "events": form.get("events", [])}
        )
        check_address(service.settings, wanted.url)
        with service.database.writing() as session:
            made = make_webhook(service, session, wanted)
    except ServiceError as error:
        problem = error.detail
    except ValidationError:
        problem = "An address, and one event at the least, are needed."
    context = _context(service) | {"made": made, "problem": problem}
    return page(request, "webhooks/webhooks.html", context, status=422 if problem else 200)


def _context(service: Service) -> dict[str, Any]:
    with service.database.reading() as session:
        found = find_webhooks(session)
        rows = [read_webhook(session, webhook.id) for webhook in found]
        sent = {
            row.id: [
                delivery_document(each)
                for each in deliveries.of_webhook(session, row.id, limit=SHOWN)
            ]
            for row in rows
            if audience.may_look(row)
        }
        changeable = {row.id for row in rows if is_told_whole(row)}
    return {
        "webhooks": found,
        "sent": sent,
        "changeable": changeable,
        "events": outbox.EVENTS,
        "made": None,
        "problem": "",
    }
