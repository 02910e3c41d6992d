"""Measurements of a worker and its machine, which its heartbeats store."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

ASK = (
    "--query-gpu=index,uuid,utilization.gpu,memory.used,memory.total",
    "--format=csv,noheader,nounits",
)
GPU_SECONDS = 15.0  # between two questions to nvidia-smi, which takes a while
MIB = 2**20


class Measures:
    """A thread asks for the GPUs, if there are any; the rest is measured by `now`."""

    def __init__(
        self,
        directory: Path,
        *,
        gpus: set[str],
        outbox_bytes: Callable[[], int],
        stalls: Callable[[], int],
    ) -> None:
        """`gpus` are the names or numbers of this worker's, as `nvidia-smi` has them;
        `outbox_bytes()` is how much its trainings reported that the database does not have,
        `stalls()` how many trainings hung."""
        self._directory = directory
        self._gpus = gpus
        self._outbox_bytes = outbox_bytes
        self._stalls = stalls
        self._found: list[dict[str, Any]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="gpus", daemon=True)

    def start(self) -> None:
        """Begin to ask for the GPUs."""
        if self._gpus:
            self._thread.start()

    def stop(self) -> None:
        """End the thread, without waiting for it."""
        self._stop.set()

    def now(self) -> dict[str, Any]:
        """Measure. `gpus` is null without a GPU; a number that is not known is left out."""
        found: dict[str, Any] = {
            "gpus": list(self._found) if self._gpus else None,
            "outbox_bytes": self._outbox_bytes(),
            "stalls": self._stalls(),
            "memory_bytes": _resident_bytes(),
        }
        try:
            disk = shutil.disk_usage(self._directory)
        except OSError:
            return found
        return found | {"disk_free_bytes": disk.free, "disk_bytes": disk.total}

    def _follow(self) -> None:
        while True:
            self._found = ask_gpus(os.environ, self._gpus)
            if self._stop.wait(GPU_SECONDS):
                return


def ask_gpus(environment: Mapping[str, str], wanted: Collection[str]) -> list[dict[str, Any]]:
    """Use (0 to 1) and memory of the GPUs of these UUIDs or numbers; null what a card does not
    tell."""
    program = shutil.which("nvidia-smi", path=environment.get("PATH"))
    if program is None:
        return []
    try:
        answer = subprocess.run(
            [program, *ASK], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return parse(answer, wanted)


def parse(answer: str, wanted: Collection[str]) -> list[dict[str, Any]]:
    """Parse the lines of `nvidia-smi`: index, UUID, use in percent, used and total memory in
    MiB."""
    found = []
    for line in answer.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 5 or not {fields[0], fields[1]} & set(wanted):
            continue
        use, used, total = (float(field) if _is_number(field) else None for field in fields[2:])
        found.append(
            {
                "index": fields[0],
                "use": None if use is None else use / 100,
                "memory_used_bytes": None if used is None else int(used * MIB),
                "memory_bytes": None if total is None else int(total * MIB),
            }
        )
    return found


def _is_number(field: str) -> bool:
    return field.replace(".", "", 1).isdecimal()


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):  # elsewhere the most that there was
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
