"""Checks of uploaded networks, each in a process of its own with bounded memory and time."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any

from api.errors import InvalidRequestError, UnavailableError
from api.host.child import Child, plain_environment
from api.settings import Settings

AT_ONCE = 2
WAIT_SECONDS = 60.0  # for other checks
SECONDS = 120  # of processor time
GRACE_SECONDS = 60.0  # beyond it, by the clock on the wall
log = logging.getLogger(__name__)
_turns = threading.BoundedSemaphore(AT_ONCE)


def check(settings: Settings, file: Path) -> dict[str, Any]:
    """The `settings` and `facts` of a network in a file, see `saf.network_process`. Raises
    InvalidRequestError where it is none, UnavailableError where too many are checked."""
    if not _turns.acquire(timeout=WAIT_SECONDS):
        raise UnavailableError("other networks are being checked; try again in a minute")
    try:
        found = _of_child(settings, file)
    finally:
        _turns.release()
    if "problem" in found:
        raise InvalidRequestError.at("/file", str(found["problem"]))
    return found


def _of_child(settings: Settings, file: Path) -> dict[str, Any]:
    result, output = file.parent / "result.json", file.parent / "output.txt"
    command = [
        *(sys.executable, "-P", "-m", "saf.network_process", str(file), str(result)),
        *("--max-memory-bytes", str(settings.check_max_memory_bytes)),
        *("--max-seconds", str(SECONDS)),
    ]
    with output.open("wb") as said:
        child = Child("network check", command, environment=plain_environment(), output=said)
        child.start()
        try:
            deadline = time.monotonic() + SECONDS + GRACE_SECONDS
            while not child.wait(0.1) and time.monotonic() < deadline:
                pass
        finally:
            child.kill()
    if child.exit_status == 0:
        found: dict[str, Any] = json.loads(result.read_text())
        return found
    text = output.read_text(errors="replace").strip()
    log.warning("the check of %s ended with %s: %s", file.name, child.exit_status, text[-2000:])
    return {
        "problem": "the file could not be read within the limits on memory and time; send a "
        "smaller network, or set SAF_CHECK_MAX_MEMORY_BYTES on the server"
    }
