"""`/guide`: the guide for users, which `make docs` builds from `docs/`, as static files."""

from __future__ import annotations

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

FOLDER = Path(__file__).parents[1] / "built" / "guide"
NOT_BUILT = (
    "the guide was not built on this server: run `make docs` in the checkout, which takes seconds "
    "and needs no restart, or read the chapters in docs/"
)


class Guide:
    """The files of the built guide; an ASGI application to mount.

    Raises HTTPException: 404 for what is not there, with a hint where nothing is.
    """

    def __init__(self) -> None:
        self._folder = FOLDER
        self._files = _Revalidated(directory=FOLDER, html=True, check_dir=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        if not (self._folder / "index.html").is_file():
            raise HTTPException(404, NOT_BUILT)
        await self._files(scope, receive, send)


class _Revalidated(StaticFiles):
    """Files that a browser asks for again: a new build has new pages at the same addresses."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response
