"""The part of the page of an account that is for mail: boxes that are told when trainings end."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse, Response

from api.errors import InvalidRequestError
from api.store import viewer
from api.store.accounts.tables import User
from api.store.webhooks.tables import MAILTO
from api.web.asgi import prefix
from api.web.dependencies import Service
from api.webhooks.mail.addresses import box, is_mail
from api.webhooks.routes import check_address, find_webhooks, make_webhook
from api.webhooks.schemas import NewWebhook

router = APIRouter(include_in_schema=False)
MOST_FORM_BYTES = 20_000
EVENTS = {
    "a training failed": ("job.failed",),
    "a training succeeded": ("job.succeeded",),
    "a sweep has ended": ("sweep.ended",),
    "something waits for me": ("job.paused", "dataset.needs_choice"),
    "a data set was checked": ("dataset.ready", "dataset.invalid"),
}
"""What a person chooses from, and the events that it stands for."""
CHOSEN = 4  # of these, unless somebody says otherwise


def shown(service: Service, session: Session) -> dict[str, Any]:
    """What the page says: whether mail is offered, and one's own boxes."""
    owner_id = viewer.owner()
    user = None if owner_id is None else session.get(User, owner_id)
    me = None if user is None else user.name
    own = [one for one in find_webhooks(session) if is_mail(one.url) and one.owner == me]
    return {
        "is_offered": bool(service.settings.smtp_host),
        "boxes": [{"address": box(one.url), "webhook": one} for one in own],
        "suggested": "" if own or user is None else user.email or "",
        "choices": list(EVENTS),
        "chosen": CHOSEN,
    }


@router.post("/account/mail")
async def add_box(request: Request) -> Response:
    """Tells a mail box of what was chosen, from when it is confirmed."""
    body = await request.body()
    if len(body) > MOST_FORM_BYTES:
        raise InvalidRequestError(f"the form has more than {MOST_FORM_BYTES} bytes")
    form = parse_qs(body.decode("utf-8", "replace"))
    return await anyio.to_thread.run_sync(_add, request, form)


def _add(request: Request, form: dict[str, list[str]]) -> Response:
    service: Service = request.app.state.service
    events = [event for choice in form.get("told", ()) for event in EVENTS.get(choice, ())]
    try:
        wanted = NewWebhook.model_validate(
            {
                "url": MAILTO + form.get("address", [""])[0].strip(),
                "events": events,
                "sweep_jobs": "each" in form.get("sweep", ()),
            }
        )
    except ValidationError:
        raise InvalidRequestError("choose what the address is to be told of") from None
    check_address(service.settings, wanted.url)
    with service.database.writing() as session:
        make_webhook(service, session, wanted)
    return RedirectResponse(prefix.at("/account#mail"), 303)
