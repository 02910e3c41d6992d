"""Templates to responses: how a page is made, and how a person is shown an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.web import assets, formatting, remarks
from api.web.asgi import prefix
from api.web.caller import caller_of
from api.web.problems.documents import MEDIA_TYPE
from api.web.schemas import iso
from saf import sizes
from saf.config.methods import method_label

templates = Jinja2Templates(Path(__file__).parents[1] / "templates")
templates.env.filters.update(
    age=formatting.age,
    amount=formatting.amount,
    clock_time=formatting.clock_time,
    duration=formatting.duration,
    iso=iso,
    joules=formatting.joules,
    markdown=remarks.rendered,
    method_label=method_label,
    metric=formatting.metric,
    number=formatting.number,
    percent=formatting.percent,
    pretty=formatting.pretty,
    size=sizes.readable,
)
templates.env.globals["static"] = assets.address
templates.env.globals["root"] = prefix.root.get


def _csrf(request: Request) -> str:
    """What forms and scripts of a page have to say; empty where nobody asks for it."""
    caller = caller_of(request.scope)
    return caller.csrf if caller is not None else ""


def _account(request: Request) -> str:
    """The name of whoever looks; empty where there are no accounts."""
    caller = caller_of(request.scope)
    return caller.name if caller is not None else ""


def _adds_to(request: Request) -> tuple[str, ...]:
    """Projects that whoever looks may add to."""
    caller = caller_of(request.scope)
    return caller.adds_to if caller is not None else ()


templates.env.globals["adds_to"] = _adds_to
templates.env.globals["csrf"] = _csrf
templates.env.globals["account"] = _account
_FOR_PROGRAMS = ("/v1/", "/static/", "/metrics", "/healthz", "/readyz", "/openapi.json")


def page(request: Request, name: str, context: Mapping[str, Any], status: int = 200) -> Response:
    """A template of `templates/` as a response that no cache keeps."""
    return templates.TemplateResponse(
        request, name, dict(context), status_code=status, headers={"Cache-Control": "no-store"}
    )


def attachment(content: str, media_type: str, name: str) -> Response:
    """A file to be saved under a name."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(content, media_type=media_type, headers=headers)


class ProblemPages:
    """Shows a person who asked for a page the problem that came instead as a page.

    Programs get the problem as it is: by what they accept, and at the addresses that are theirs.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _wants_page(scope):
            await self._app(scope, receive, send)
            return
        start: Message | None = None  # of a problem, kept until its body is there
        body = b""

        async def send_page(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                headers = Headers(raw=message["headers"])
                if headers.get("content-type") == MEDIA_TYPE:
                    start = message
                    return
            if start is None:
                await send(message)
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            shown = _as_page(scope, body) if body else b""
            headers = MutableHeaders(raw=start["headers"])
            headers["content-type"] = "text/html; charset=utf-8"
            headers["cache-control"] = "no-store"
            if shown:
                headers["content-length"] = str(len(shown))
            await send(start)
            await send({"type": "http.response.body", "body": shown})

        await self._app(scope, receive, send_page)


def _wants_page(scope: Scope) -> bool:
    accepted = Headers(scope=scope).get("accept", "")
    return "text/html" in accepted and not scope["path"].startswith(_FOR_PROGRAMS)


def _as_page(scope: Scope, problem: bytes) -> bytes:
    request = Request(scope)
    context = {"request": request, "problem": json.loads(problem)}
    return templates.get_template("web/problem.html").render(context).encode()
