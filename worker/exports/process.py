"""The process that makes one export, its limits of time and memory, and what it says."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from api.host.child import Child
from worker.processes.process import environment

EXPORTING = (sys.executable, "-P", "-m", "saf.processes.export")
PASSED_ON = (
    *("CC", "SAF_EXPORT_PYTHON", "SAF_READERS", "SAF_READERS_INSTALL"),
    # For pip, which makes environments of readers.
    *("PIP_CONFIG_FILE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"),
    *("SSL_CERT_FILE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"),
    *("https_proxy", "http_proxy", "no_proxy"),
)
LONGEST_LINE = 64 * 2**20
SHOWN_LOG = 2000  # characters of what it printed


class ExportProcess:
    """Leads a group of its own, so that compilers and interpreters end with it. Start it from a
    thread that outlives it."""

    def __init__(
        self, order: Mapping[str, Any], directory: Path, command: Sequence[str] = EXPORTING
    ) -> None:
        """Start it in `directory`, which is its alone. Raises OSError."""
        self.replayed: tuple[int, int] | None = None
        """Samples that were replayed, of how many."""
        self.answer: dict[str, Any] | None = None
        """Its last word: `done` or `failed`; None before, and where it died."""
        path = directory / "order.json"
        path.write_text(json.dumps(order), encoding="utf-8")
        self._log = directory / "log"
        slot = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        slot["SAF_READERS_INSTALL"] = "1"
        slot |= {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self._pipe, pipe_of_child = os.pipe()
        try:
            with self._log.open("wb") as log:
                self._child = Child(
                    "export",
                    [*command, str(path), str(pipe_of_child)],
                    environment=environment(os.environ, slot, directory),
                    directory=directory,
                    output=log,
                    keep=(pipe_of_child,),
                )
                self._child.start()
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(pipe_of_child)
        self._thread = threading.Thread(target=self._read, name="export-pipe", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Its process id, which is that of its group."""
        return self._child.pid

    def wait(self, seconds: float) -> bool:
        """Wait for its end for at most so long; whether it has ended."""
        return self._child.wait(seconds)

    def end(self) -> None:
        """Kill what is left of its group; returns when it is gone and all that it said is read."""
        if self._child.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, signal.SIGKILL)
        self._child.kill()
        self._thread.join(timeout=5)

    def how_it_died(self) -> str:
        """The end of a process that gave no answer, in words."""
        status = self._child.exit_status
        if status is not None and status < 0:
            name = signal.Signals(-status).name
            more = ", as the system does where memory runs out" if name == "SIGKILL" else ""
            return f"the process of the export was killed by {name}{more}"
        return f"the process of the export ended with status {status}"

    def log(self) -> str:
        """The end of what it printed."""
        with suppress(OSError):
            return self._log.read_text(errors="replace")[-SHOWN_LOG:].strip()
        return ""

    def _read(self) -> None:
        waiting = b""
        with os.fdopen(self._pipe, "rb", buffering=0) as pipe:
            while received := pipe.read(65_536):
                *lines, waiting = (waiting + received).split(b"\n")
                for line in lines:
                    self._take(line)
                if len(waiting) > LONGEST_LINE:
                    return

    def _take(self, line: bytes) -> None:
        said = json.loads(line)
        if "total" in said:
            self.replayed = (said["replayed"], said["total"])
        else:
            self.answer = said
