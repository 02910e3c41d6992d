"""Style sheets, scripts and pictures of the pages, served from memory.

Their addresses hold a hash of all of them, so that a browser keeps each for ever and asks for
nothing twice; scripts import one another by relative addresses and stay under the same hash.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.web.asgi import prefix
from api.web.asgi.compression import accepts_gzip

FOLDER = Path(__file__).parents[1] / "static"
FOR_EVER = "public, max-age=31536000, immutable"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".md": "text/plain; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
RUNS_NETWORKS = "jobs/snn_worker.js"
POLICIES = {RUNS_NETWORKS: "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'"}
"""What a script may do that no page may. A worker is under the policy of its own response."""
PACKED = frozenset(MEDIA_TYPES) - {".png"}


class Assets:
    """The files of a folder as they were when it was read; an ASGI application to mount."""

    def __init__(self, folder: Path, more: Mapping[str, bytes] | None = None) -> None:
        """Reads all files; `more` are others, by the names that they get. Raises OSError."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self._files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        self._files |= more or {}
        digest = hashlib.sha256()
        for name, content in self._files.items():
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        self.version = digest.hexdigest()[:12]
        self._packed: dict[str, bytes] = {}

    def address(self, name: str) -> str:
        """Where a file is, for as long as nothing of the folder changes."""
        return prefix.at(f"/static/{self.version}/{name}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"].removeprefix(scope["root_path"])
        response = self._answer(path.lstrip("/"), Headers(scope=scope))
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        if scope["method"] == "HEAD":
            response.body = b""  # the length stays
        await response(scope, receive, send)

    def _answer(self, path: str, headers: Headers) -> Response:
        """A file under its own name may change; under the hash it never does. A page of before an
        upgrade gets the file of today."""
        first, _, rest = path.partition("/")
        name = path if path in self._files else rest
        content = self._files.get(name)
        if content is None:
            raise HTTPException(404, f"there is no file {path}")
        ending = Path(name).suffix
        tag = hashlib.sha256(content).hexdigest()[:32]
        own = {
            "Cache-Control": FOR_EVER if first == self.version else "no-cache",
            "Vary": "Accept-Encoding",
        }
        if ending in PACKED and accepts_gzip(headers):
            content = self._pack(name)
            tag += "-gzip"
            own["Content-Encoding"] = "gzip"
        if name in POLICIES:
            own["Content-Security-Policy"] = POLICIES[name]
        own["ETag"] = f'"{tag}"'
        if tag in headers.get("if-none-match", ""):
            return Response(status_code=304, headers=own)
        media_type = MEDIA_TYPES.get(ending, "application/octet-stream")
        return Response(content, headers=own, media_type=media_type)

    def _pack(self, name: str) -> bytes:
        if name not in self._packed:
            self._packed[name] = gzip.compress(self._files[name], 9, mtime=0)
        return self._packed[name]


@lru_cache
def assets() -> Assets:
    """Static files of the user interface, and the module that exports to WebAssembly have."""
    module = files("saf.lif.export") / "templates" / "snn.js"
    return Assets(FOLDER, {"jobs/snn.js": module.read_bytes()})


def address(name: str) -> str:
    """URL of the file `static/<name>`."""
    return assets().address(name)
