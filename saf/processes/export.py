"""The process that makes an export: `python -m saf.processes.export ORDER PIPE`.

ORDER is a file of JSON: `network`, the path of a `lif.safetensors`; `target` and its `options`;
`directory`, where the files are to lie; `dataset`, whose evaluation split is replayed, by its path
or with `builtin` by its name, null where it is gone; `samples`, how many of them at most;
`max_memory_bytes`. Lines of JSON go into PIPE: `{"replayed": 50, "total": 1000}`, and one last,
`{"done": …}` with verdict, files and certificate, or `{"failed": …}` with code, message and hint,
and `errno` where a disk is full or away.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from saf.config.targets import CannotExportError, target_of
from saf.data import BUILTIN, Dataset, load
from saf.errors import DataError
from saf.redaction import without_folders

CANNOT, READER = "cannot_express", "reader"
NO_MEMORY = ("allocate memory", "out of memory", "bad_alloc")  # as torch says it
FULL = (errno.ENOSPC, errno.EDQUOT)
LONGEST_MESSAGE = 2000


def main() -> int:
    """Make the export of the order; see the module."""
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    bounds = (order["max_memory_bytes"],) * 2
    resource.setrlimit(resource.RLIMIT_DATA, bounds)
    with os.fdopen(int(sys.argv[2]), "w", encoding="utf-8") as pipe:
        os.set_inheritable(pipe.fileno(), False)
        for line in answered(order):
            pipe.write(json.dumps(line, allow_nan=False) + "\n")
            pipe.flush()
    return 0


def answered(order: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What goes into the pipe; never raises."""
    try:
        yield from _made(order)
    except Exception as error:
        yield {"failed": _failure(error)}


def _made(order: dict[str, Any]) -> Iterator[dict[str, Any]]:
    import torch

    from saf.lif.exporting import Export, exported
    from saf.lif.network import load_lif
    from saf.training.batches import identity

    torch.set_num_threads(1)  # trainings have the machine first
    target = target_of(order["target"], order["options"])
    dataset = _dataset(order)
    x = y = lengths = digest = None
    if dataset is not None:
        digest = identity(dataset.x_train, dataset.y_train, dataset.lengths_train)
        rows = _spread(len(dataset.y_test), order["samples"])
        x, y = dataset.x_test[rows], dataset.y_test[rows]
        lengths = None if dataset.lengths_test is None else dataset.lengths_test[rows]
    unit = 255 if dataset is None else dataset.unit
    network = load_lif(order["network"])
    directory = Path(order["directory"])
    for report in exported(
        network, target, directory, x, y, lengths, unit=unit, dataset_sha256=digest
    ):
        if not isinstance(report, Export):
            yield {"replayed": report.samples, "total": report.total}
            continue
        yield {
            "done": {
                "verdict": report.verdict,
                "files": list(report.files),
                "certificate": report.certificate,
            }
        }


def _dataset(order: dict[str, Any]) -> Dataset | None:
    if order["dataset"] is None:
        return None
    return BUILTIN[order["dataset"]]() if order["builtin"] else load(Path(order["dataset"]))


def _spread(total: int, count: int) -> Any:
    from saf.lif.certificate import spread

    return spread(total, count).numpy() if total else np.arange(0)


def _failure(error: Exception) -> dict[str, Any]:
    from saf.lif.exporting import ReplayError

    said = without_folders(" ".join(str(error).split()))[:LONGEST_MESSAGE] or type(error).__name__
    if isinstance(error, CannotExportError):
        code, hint = CANNOT, "; ".join(dict.fromkeys(each.remedy for each in error.obstacles))
    elif isinstance(error, ReplayError):
        code, hint = READER, "compare the version of the reader with those in the guide"
    elif isinstance(error, DataError):
        code, hint = error.code, error.hint
    elif isinstance(error, MemoryError) or any(sign in said for sign in NO_MEMORY):
        code, hint = "out_of_memory", "raise SAF_EXPORT_MAX_MEMORY_BYTES, or replay fewer samples"
    elif isinstance(error, ModuleNotFoundError):
        code, hint = "user_config", "install it on every worker, and start it again"
    elif isinstance(error, (ValueError, KeyError)):
        code, hint = "user_config", "change what the message names, then export again"
    else:
        traceback.print_exc()  # to the log of the worker
        said = f"{type(error).__name__}: {said}"
        code, hint = "internal", "this is a defect of the service; the worker's log has the details"
    number = _number_of(error, said)
    return {"code": code, "message": said, "hint": hint, **({"errno": number} if number else {})}


def _number_of(error: Exception, said: str) -> int | None:
    """The number of an error of the system, also where a library tells it by its words alone."""
    own = error.errno if isinstance(error, OSError) else None
    return next((number for number in FULL if os.strerror(number) in said), own)


if __name__ == "__main__":
    sys.exit(main())
