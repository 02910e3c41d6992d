"""Checks of uploaded networks, each in a process of its own with bounded memory and time."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.errors import InvalidRequestError, UnavailableError
from api.host.child import Child, plain_environment
from api.settings import Settings
from saf.config.incoming import Reading

AT_ONCE = 2
WAIT_SECONDS = 60.0  # for other checks
SECONDS = 120  # of processor time
GRACE_SECONDS = 60.0  # beyond it, by the clock on the wall
CONVERTED = ".converted"
log = logging.getLogger(__name__)
_turns = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True)
class SamplesFile:
    """The data set that thresholds are balanced with."""

    name: str
    path: str
    """Of its canonical file, or the name of one that is built in."""


def check(
    settings: Settings, file: Path, reading: Reading, samples: SamplesFile | None
) -> tuple[dict[str, Any], Path]:
    """The `settings` and `facts` of a network in a file, see `saf.processes.check_network`, and the
    file to keep: this one, or the `lif.safetensors` that was made of it. Raises
    InvalidRequestError where it is none, UnavailableError where too many are checked."""
    if not _turns.acquire(timeout=WAIT_SECONDS):
        raise UnavailableError("other networks are being checked; try again in a minute")
    try:
        found = _of_child(settings, file, reading, samples)
    finally:
        _turns.release()
    if "problem" in found:
        raise InvalidRequestError.at("/file", str(found["problem"]))
    converted = file.parent / CONVERTED
    return found, converted if converted.exists() else file


def _of_child(
    settings: Settings, file: Path, reading: Reading, samples: SamplesFile | None
) -> dict[str, Any]:
    result, output = file.parent / "result.json", file.parent / "output.txt"
    command = [
        *(sys.executable, "-P", "-m", "saf.processes.check_network", str(file), str(result)),
        *("--max-memory-bytes", str(settings.check_max_memory_bytes)),
        *("--max-seconds", str(SECONDS)),
        *("--converted", str(file.parent / CONVERTED)),
        *("--reading", reading.model_dump_json(exclude_unset=True)),
        *(() if samples is None else ("--dataset", samples.path, "--dataset-name", samples.name)),
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
