"""The prediction process: one child process that runs networks, so that the API loads no torch.

It stays warm between requests, its memory and time are limited, and it ends when it is idle."""

from __future__ import annotations

import json
import logging
import queue
import signal
import socket
import sys
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTimeError
from typing import Any

from api.errors import UnavailableError
from api.host.child import Child, plain_environment
from api.settings import Settings

WAITING = 6  # questions that may wait; each holds a thread of the server
START_SECONDS = 60.0  # to load torch in, on a machine that is busy with trainings
LONGEST_ANSWER = 2**24
log = logging.getLogger(__name__)


class Predictor:
    """Sends questions to `saf.processes.predict`, one at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._questions: queue.Queue[tuple[bytes, Future[dict[str, Any]]] | None] = queue.Queue()
        self._places = threading.BoundedSemaphore(WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._child: Child | None = None
        self._line: socket.socket | None = None
        self._received = b""

    @property
    def pid(self) -> int | None:
        """Process id of the prediction process; None while there is none."""
        child = self._child
        return child.pid if child is not None and child.is_alive else None

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer of `saf.processes.predict`. Raises UnavailableError where networks are not run
        here, too many wait, or this one takes too long."""
        if not self._settings.predict_max_memory_bytes:
            raise UnavailableError(
                "networks are not run on this server (SAF_PREDICT_MAX_MEMORY_BYTES is 0); download "
                "lif.safetensors and run it with `saf run`"
            )
        if not self._places.acquire(blocking=False):
            raise UnavailableError("too many predictions wait; ask again in some seconds")
        try:
            answer: Future[dict[str, Any]] = Future()
            with self._lock:
                if self._closed:
                    raise UnavailableError("the server is being stopped")
                self._questions.put((json.dumps(question).encode() + b"\n", answer))
                if self._thread is None:
                    # The child dies with the thread that started it, so this one stays.
                    self._thread = threading.Thread(target=self._serve, name="predict", daemon=True)
                    self._thread.start()
            timeout = WAITING * (START_SECONDS + self._settings.predict_max_seconds)
            try:
                return answer.result(timeout)
            except NotInTimeError:
                answer.cancel()
                raise UnavailableError(
                    "too many wait for their networks; ask again later"
                ) from None
        finally:
            self._places.release()

    def close(self) -> None:
        """End the process, and refuse what still waits."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            self._questions.put(None)
            if (child := self._child) is not None:
                child.kill()
            thread.join(5.0)

    def _serve(self) -> None:
        while True:
            try:
                idle = self._settings.predict_idle_seconds if self._child is not None else None
                entry = self._questions.get(timeout=idle)
            except queue.Empty:
                self._end()
                continue
            if entry is None:
                break
            question, answer = entry
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(self._answer(question))
            except Exception as error:
                self._end()
                answer.set_exception(error)
        self._end()
        while not self._questions.empty():
            if (entry := self._questions.get_nowait()) is not None:
                entry[1].set_exception(UnavailableError("the server is being stopped"))

    def _answer(self, question: bytes) -> dict[str, Any]:
        if self._child is None or not self._child.is_alive:
            self._begin()
        assert self._line is not None
        seconds = self._settings.predict_max_seconds
        self._line.settimeout(seconds)
        try:
            self._line.sendall(question)
            return self._receive(seconds)
        except TimeoutError:
            raise UnavailableError(
                f"the network took longer than the {seconds:g} s that a prediction may take here "
                "(SAF_PREDICT_MAX_SECONDS); download lif.safetensors and run it with `saf run`"
            ) from None
        except OSError as error:
            raise self._died() from error

    def _begin(self) -> None:
        self._end()
        ours, theirs = socket.socketpair()
        memory = str(self._settings.predict_max_memory_bytes)
        command = [*(sys.executable, "-P", "-m", "saf.processes.predict", str(theirs.fileno()))]
        command += ["--max-memory-bytes", memory]
        self._child = Child(
            "predict", command, environment=plain_environment(), keep=(theirs.fileno(),)
        )
        self._line, self._received = ours, b""
        with theirs:
            self._child.start()
        try:
            ready = self._receive(START_SECONDS)
        except TimeoutError:
            raise UnavailableError(
                "the prediction process does not start; ask again later"
            ) from None
        if not ready["ok"]:
            raise UnavailableError(f"networks cannot be run on this server: {ready['message']}")

    def _receive(self, seconds: float) -> dict[str, Any]:
        """The next line. Raises TimeoutError, UnavailableError when the process has died."""
        assert self._line is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._received:
            self._line.settimeout(max(0.001, deadline - time.monotonic()))
            piece = self._line.recv(2**16)
            if not piece or len(self._received) > LONGEST_ANSWER:
                raise self._died()
            self._received += piece
        line, _, self._received = self._received.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _died(self) -> UnavailableError:
        child = self._child
        status = child.exit_status if child is not None and child.wait(2.0) else None
        log.warning("the prediction process ended with %s", status)
        why = "the system ended it, for lack of memory perhaps"
        if status != -signal.SIGKILL:
            why = f"it ended with {_in_words(status)}, which the log of the service may explain"
        return UnavailableError(
            f"the process that ran the network is gone: {why}; download lif.safetensors and run it "
            "with `saf run`"
        )

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None
        if self._line is not None:
            self._line.close()
            self._line = None


def _in_words(status: int | None) -> str:
    if status is None or status >= 0:
        return f"exit status {status}"
    return signal.Signals(-status).name
