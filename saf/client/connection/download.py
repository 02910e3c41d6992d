"""One file from the server to the disk: goes on where it stopped, verified, whole or not there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import httpx

from saf import files
from saf.client.types import Artifact, ChecksumError, ClientError, UnreachableError

ATTEMPTS = 6  # in a row that bring nothing
OPEN_ENDED = httpx.Timeout(30.0, read=60.0)

Reported = Callable[[Artifact, int], None]
"""Called with the file and how many of its bytes are there."""


def download(
    http: httpx.Client, artifact: Artifact, directory: Path, report: Reported = lambda _a, _n: None
) -> Path:
    """Fetch one file into `directory` and return its path.

    What is there already and has the right content is not fetched again; a broken download is
    kept as `NAME.part` and continued. The file appears under its name only once its SHA-256 is
    right. Raises `ChecksumError`, `UnreachableError`, `ClientError`, OSError.
    """
    target = _target(directory, artifact["name"])
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_file() and files.digest_of(target).sha256 == artifact["sha256"]:
        report(artifact, artifact["bytes"])
        return target
    part = target.with_name(target.name + ".part")
    resumed = part.exists()
    _fetch(http, artifact, part, report)
    if files.digest_of(part).sha256 != artifact["sha256"] and resumed:
        # What was there before may have been of another file.
        part.unlink()
        _fetch(http, artifact, part, report)
    if files.digest_of(part).sha256 != artifact["sha256"]:
        part.unlink()
        raise ChecksumError(
            f"{artifact['name']} arrived with another SHA-256 than the server announced; "
            "download it again"
        )
    files.move(part, target)
    return target


def _fetch(http: httpx.Client, artifact: Artifact, part: Path, report: Reported) -> None:
    """Bring `part` to the announced length, over as many connections as it takes.

    Raises ChecksumError where the server sends more than it announced, `UnreachableError` once
    several connections brought no more than those before.
    """
    barren, reached = 0, 0
    while True:
        there = part.stat().st_size if part.exists() else 0
        if there > artifact["bytes"]:
            part.unlink()
            there = 0
        reached = max(reached, there)
        if there == artifact["bytes"] and part.exists():
            return
        try:
            _fetch_rest(http, artifact, part, there, report)
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
        else:
            reason = "the connection ended early"
        grown = (part.stat().st_size if part.exists() else 0) - reached
        barren = 0 if grown > 0 else barren + 1
        if barren == ATTEMPTS:
            raise UnreachableError(f"{artifact['name']} cannot be downloaded: {reason}")
        if grown <= 0:
            time.sleep(0.1 * 2**barren)


def _fetch_rest(
    http: httpx.Client, artifact: Artifact, part: Path, there: int, report: Reported
) -> None:
    # No compression: the bytes are counted, and a range is of what is stored.
    headers = {"accept-encoding": "identity"}
    if there:
        headers |= {"range": f"bytes={there}-", "if-range": f'"{artifact["sha256"]}"'}
    with http.stream("GET", artifact["url"], headers=headers, timeout=OPEN_ENDED) as response:
        if response.status_code not in (200, 206):
            if response.status_code >= 500:
                return
            response.read()
            raise ClientError(
                f"{artifact['name']} cannot be downloaded: the server answers "
                f"{response.status_code} {_said(response)}"
            )
        whole = response.status_code == 200
        with part.open("wb" if whole else "ab") as file:
            count = 0 if whole else there
            for block in response.iter_raw():  # as it comes: what a size collects, a break loses
                count += len(block)
                if count > artifact["bytes"]:
                    part.unlink()
                    raise ChecksumError(
                        f"the server sends more of {artifact['name']} than the "
                        f"{artifact['bytes']} bytes that it announced; the file may be damaged "
                        "there (`saf scrub`)"
                    )
                file.write(block)
                report(artifact, count)
            file.flush()
            os.fsync(file.fileno())


def _said(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]


def _target(directory: Path, name: str) -> Path:
    """Where a file goes; the server's word does not lead out of the directory."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise ClientError(f"the server names a file {name!r}, which is no name of a file")
    return directory.joinpath(*parts)
