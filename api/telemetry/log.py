"""The logs of the service's processes: one line a message, or one JSON object a line.

Modules log by `logging`; structlog makes the lines. Each message carries the ids of what it belongs
to: those bound with `bound` in the context that it is logged from. A line cannot be forged by what
it quotes (`saf.printable`), and passwords and tokens are left out.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from contextvars import copy_context
from types import TracebackType
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor

from saf.printable import escaped
from saf.redaction import Redaction

Format = Literal["console", "json"]
IDS = ("request_id", "user", "job_id", "attempt")
TRACEPARENT = "traceparent"  # among the ids where requests are traced
MOST_CHARACTERS = 16_384  # of a message, or of one of its values
_RECORD = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})


def configure(
    process: str,
    format_: Format = "console",
    *,
    level: int = logging.WARNING,
    secrets: Iterable[str] = (),
) -> None:
    """Log to standard error, unless whoever runs the process has decided on something.

    `level` is that of the libraries; ours log from INFO on. `secrets` are never written.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(process, format_, secrets=secrets))
    root.addHandler(handler)
    root.setLevel(level)
    for name in ("api", "worker", "saf"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error"):  # they come with handlers of their own
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    access = logging.getLogger(
        "uvicorn.access"
    )  # `api.web.asgi.middleware` has a line for each request
    access.handlers.clear()
    access.propagate = False
    logging.captureWarnings(True)
    sys.excepthook = _log_exception
    threading.excepthook = _log_thread_exception


def formatter(
    process: str, format_: Format = "console", *, secrets: Iterable[str] = ()
) -> logging.Formatter:
    """Formatter of the records of `logging`."""
    render: list[Processor] = (
        [structlog.processors.JSONRenderer(ensure_ascii=True, default=str)]
        if format_ == "json"
        else [_console]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            _add_fields,
        ],
        processors=[
            _add_ids,
            _add_process(process),
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            Redaction(secrets),
            _cut,
            *render,
        ],
    )


def bind(**ids: Any) -> None:
    """Give all that this context, such as a request, logs from here on these ids."""
    structlog.contextvars.bind_contextvars(**ids)


def bound(**ids: Any) -> AbstractContextManager[Any]:
    """Give all that is logged within the block these ids."""
    return structlog.contextvars.bound_contextvars(**ids)


def ids() -> dict[str, Any]:
    """The ids of this context that a job passes on: of the request, its user and its trace."""
    known = structlog.contextvars.get_contextvars()
    found = {name: known.get(name) for name in ("request_id", "user")}
    return found | {name: known[name] for name in (TRACEPARENT,) if name in known}


def bound_ids() -> dict[str, Any]:
    """All ids of this context."""
    return dict(structlog.contextvars.get_contextvars())


def make_thread(target: Any, *args: Any, name: str, daemon: bool = True) -> threading.Thread:
    """A thread, not started, that logs with the ids of the context which made it."""
    return threading.Thread(
        target=copy_context().run, args=(target, *args), name=name, daemon=daemon
    )


def _add_fields(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """The values that a message was given as `extra`."""
    record = event["_record"]
    for name, value in vars(record).items():
        if name not in _RECORD:
            event.setdefault(name, value)
    return event


def _add_ids(_logger: Any, _method: str, event: EventDict) -> EventDict:
    for name in IDS:
        event.setdefault(name, None)
    return event


def _add_process(process: str) -> Processor:
    def add(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    return add


def _cut(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Shorten a text: of an exception the end is kept, which says what it is, of others the
    beginning."""
    for name, value in event.items():
        if isinstance(value, str) and len(value) > MOST_CHARACTERS:
            left_out = f"[{len(value) - MOST_CHARACTERS} characters left out]"
            event[name] = (
                f"{left_out} {value[-MOST_CHARACTERS:]}"
                if name == "exception"
                else f"{value[:MOST_CHARACTERS]} {left_out}"
            )
    return event


def _console(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    """One line for people, with an indented exception below it."""
    line = (
        f"{event['timestamp']} {event['process']} {event['level'].upper()} "
        f"[{_which(event)}] {escaped(str(event['event']))}"
    )
    for name in ("stack", "exception"):
        for below in str(event.get(name) or "").splitlines():
            line += f"\n    | {escaped(below)}"
    return line


def _which(event: Mapping[str, Any]) -> str:
    shown = [str(event[name]) for name in ("request_id", "user", "job_id") if event[name]]
    if event["attempt"] is not None:
        shown.append(f"attempt {event['attempt']}")
    return escaped(" ".join(shown)) or "-"


def _log_exception(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger(__name__).critical("the process ends", exc_info=(kind, error, trace))


def _log_thread_exception(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread else "?"
    error = args.exc_value or args.exc_type()
    logging.getLogger(__name__).error(
        "the thread %s ended", name, exc_info=(args.exc_type, error, args.exc_traceback)
    )
