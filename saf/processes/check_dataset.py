"""The process in which an upload is checked: reads it, writes the canonical file and a verdict.

    python -m saf.processes.check_dataset INPUT OUTPUT --format auto --result RESULT.json

RESULT.json says
`{"ok": true, "format": "…", "summary": {…}, "preview": {…}, "sha256": "…", "bytes": …}`, or
`{"ok": false, "problems": [{"message": "…", "hint": "…", "limit": "…", "setting": "…"}]}`, where a
limit has the name of its field in `Limits`, and a setting its name; `questions` says what the files
leave open, with candidates and their pictures (PNG in base64, or null). The exit code is 0 either
way; any other means that the process itself came to harm. Time of the process can be bounded, and
the memory that is its own: samples lie in files beside OUTPUT while they are read.
"""

from __future__ import annotations

import argparse
import base64
import json
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from saf import files
from saf.data.canonical import save
from saf.data.dataset import Dataset
from saf.data.formats.detect import detect, read
from saf.data.formats.format import FORMATS, NeedsChoiceError, SettingError
from saf.data.preview import preview
from saf.data.sources.limits import LimitError, Limits
from saf.data.sources.pinned import pinned
from saf.errors import DataError
from saf.sizes import readable

MAX_PICTURE = 2**20  # bytes of a candidate's picture; a larger one is left out
_GRACE_SECONDS = 5  # of processor time, to write the verdict in
_MAPPED = 3
"""Addresses that files may take, in largest data sets: one as it is read, one as it is kept, and
one for what a reader does between."""


class _OutOfTime(BaseException):
    """Past every `except Exception`: a reader must not take it for damage in the file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check one upload; see the module. Raises OSError when results cannot be written."""
    parser = argparse.ArgumentParser(
        prog="python -m saf.processes.check_dataset", description="Check a data set."
    )
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path, help="the canonical file to write")
    parser.add_argument("--format", default="auto", choices=("auto", *FORMATS.names()))
    parser.add_argument(
        "--settings", type=json.loads, default={}, help="a JSON object, settings of the format"
    )
    parser.add_argument("--result", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--preview", type=Path, help="the picture (PNG) to write")
    for field in fields(Limits):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default
        )
    parser.add_argument(
        "--max-memory-bytes", type=int, help="memory of this process, without files that it maps"
    )
    parser.add_argument("--max-seconds", type=int, help="processor time of this process")
    options = parser.parse_args(arguments)
    _bound(options.max_memory_bytes, options.max_unpacked_bytes, options.max_seconds)
    verdict = _verdict(options)
    files.write_bytes(options.result, json.dumps(verdict, allow_nan=False).encode())
    return 0


def _verdict(options: argparse.Namespace) -> dict[str, Any]:
    limits = Limits(**{field.name: getattr(options, field.name) for field in fields(Limits)})
    beside = options.output.absolute().parent
    try:
        # A link is what a folder of the server is registered by.
        path = pinned(options.input, beside) if options.input.is_symlink() else options.input
        format_ = options.format
        if format_ == "auto":
            format_ = detect(path, limits=limits)
        dataset = read(
            path,
            format_,
            settings=options.settings,
            limits=limits,
            scratch=beside,
        )
        saved = save(dataset, options.output)
        summary = dataset.summary()
    except LimitError as error:
        return _problem(str(error), error.hint, limit=error.limit)
    except NeedsChoiceError as error:
        return {**_problem(str(error), error.hint), "questions": _questions(error)}
    except SettingError as error:
        return _problem(str(error), error.hint, setting=error.setting)
    except DataError as error:
        return _problem(str(error), error.hint)
    except MemoryError:
        return _problem(
            f"reading needs more memory than the {readable(options.max_memory_bytes)} allowed"
            if options.max_memory_bytes
            else "reading needs more memory than there is",
            "Send smaller files, or the samples as an .npz.",
            limit="max_memory_bytes",
        )
    except _OutOfTime:
        return _problem(
            f"reading took longer than {options.max_seconds} s of processor time",
            "Send fewer or smaller samples, or an .npz, which is read fastest.",
        )
    return {
        "ok": True,
        "format": format_,
        "summary": summary,
        "preview": _preview(dataset, options.preview) if options.preview is not None else None,
        "sha256": saved.sha256,
        "bytes": saved.bytes,
    }


def _preview(dataset: Dataset, path: Path) -> dict[str, Any] | None:
    """Write the picture; its layout, or None where memory or time are not enough for one."""
    try:
        made = preview(dataset)
    except (MemoryError, _OutOfTime):
        return None
    path.write_bytes(made.picture)
    return made.layout


def _problem(message: str, hint: str, **more: str) -> dict[str, Any]:
    return {"ok": False, "problems": [{"message": message, "hint": hint, **more}]}


def _questions(error: NeedsChoiceError) -> list[dict[str, Any]]:
    return [
        {
            "setting": question.setting,
            "asks": question.asks,
            "candidates": [
                {"value": each.value, "means": each.means, "picture": _in_base64(each.picture)}
                for each in question.candidates
            ],
        }
        for question in error.questions
    ]


def _in_base64(picture: bytes | None) -> str | None:
    if picture is None or len(picture) > MAX_PICTURE:
        return None
    return base64.b64encode(picture).decode()


def _bound(memory_bytes: int | None, mapped_bytes: int, seconds: int | None) -> None:
    if memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
        addresses = memory_bytes + _MAPPED * mapped_bytes + _programs()
        resource.setrlimit(resource.RLIMIT_AS, (addresses, addresses))
    if seconds is not None:
        signal.signal(signal.SIGXCPU, _out_of_time)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + _GRACE_SECONDS))


def _programs() -> int:
    """Addresses that this process has taken: its program, libraries and stacks."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 2**32
    return pages * resource.getpagesize()


def _out_of_time(number: int, frame: FrameType | None) -> NoReturn:
    raise _OutOfTime


if __name__ == "__main__":
    sys.exit(main())
