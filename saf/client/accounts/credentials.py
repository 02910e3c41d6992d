"""Keys that `saf login` has kept, one for each server, in a file that only this user reads."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx

from saf import files
from saf.client.types import ClientError

MODE = 0o600


def path() -> Path:
    """Where they are."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "saf" / "credentials.json"


def find(url: str) -> str:
    """The key for a server; empty where there is none. Raises ClientError where others can read the
    file, or it is none."""
    return _all().get(_server(url), "")


def keep(url: str, key: str) -> Path:
    """Keep the key for a server, in place of another one; returns where. Raises OSError."""
    return _write({**_all(), _server(url): key})


def forget(url: str) -> bool:
    """Forget the key for a server; whether there was one. Raises OSError."""
    known = _all()
    found = known.pop(_server(url), None)
    if found is not None:
        _write(known)
    return found is not None


def _all() -> dict[str, str]:
    place = path()
    try:
        mode = place.stat().st_mode
        content = place.read_bytes()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    if mode & 0o077:
        raise ClientError(
            f"other users can read the keys in {place}, so they are not used: chmod 600 it, or "
            "revoke them and `saf login` again"
        )
    try:
        found = json.loads(content)
        return {str(server): str(key) for server, key in found.items()}
    except (ValueError, AttributeError) as error:
        raise ClientError(f"{place} is not what `saf login` writes; remove it") from error


def _write(known: dict[str, str]) -> Path:
    place = path()
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with files.written(place, mode=MODE) as file:
        file.write(json.dumps(known, indent=2).encode())
    return place


def _server(url: str) -> str:
    """An address as it is compared: without user, password and a slash at the end."""
    try:
        address = httpx.URL(url.strip())
    except httpx.InvalidURL:
        return url
    return f"{address.scheme}://{address.netloc.decode()}{address.path}".rstrip("/")
