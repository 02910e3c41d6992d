"""Downloads of well-known data sets from where their authors publish them, into a cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import httpx

from saf.client.connection import proxies
from saf.client.types import ClientError
from saf.data.wellknown import KNOWN, RemoteFile, check, steps
from saf.errors import DataError
from saf.files import sync_folder

Report = Callable[[str, int, int], None]
"""Called with the name of a file, the bytes that have come and those of all of it, 0: unknown."""


class FetchError(ClientError):
    """A data set cannot be downloaded here; the message says what to do by hand."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__("\n".join([f"{name} was not downloaded: {reason}", *steps(name)]))


def cache_folder(name: str) -> Path:
    """Where the files of a data set are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "saf" / "datasets" / name


def fetch(name: str, report: Report = lambda name, count, total: None) -> Path:
    """The folder with the files of a well-known data set; those that are missing are downloaded.

    Raises FetchError where that is not possible or what came is not what was published, OSError.
    """
    entry, folder = KNOWN[name], cache_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [file for file in entry.files if not (folder / file.name).is_file()]
    if missing and entry.by_hand:
        raise FetchError(name, "its page lets no program download")
    for file in missing:
        try:
            _download(file, folder / file.name, report)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise FetchError(name, f"{file.url}: {error or type(error).__name__}") from error
    try:
        check(entry, folder)
    except DataError as error:
        for file in missing:
            (folder / file.name).unlink(missing_ok=True)
        raise FetchError(name, str(error)) from error
    return folder


def _download(file: RemoteFile, target: Path, report: Report) -> None:
    part = target.with_name(f".{target.name}.part")
    options = {"follow_redirects": True, "timeout": httpx.Timeout(30.0), "trust_env": False}
    proxy = proxies.proxy_of(httpx.URL(file.url))
    with (
        httpx.Client(proxy=proxy, **options) as client,  # type: ignore[arg-type]
        client.stream("GET", file.url) as response,
    ):
        response.raise_for_status()
        total = int(response.headers.get("content-length", 0))
        with part.open("wb") as content:
            for block in response.iter_bytes(2**20):
                content.write(block)
                report(file.name, content.tell(), total)
    part.replace(target)
    sync_folder(target.parent)
