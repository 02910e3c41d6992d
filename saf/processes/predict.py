"""The process that predicts with LIF networks: `python -m saf.processes.predict SOCKET`.

Over the socket (a file descriptor) come questions, one line of JSON each. `network` is the path of
a `lif.safetensors`; or `checkpoint` is that of a checkpoint, and `summary` what `Dataset.summary()`
says of its training data, as JSON in a string. One of `image` (a PNG or JPEG in base64), `pixels`
(`C H W` in [0, 1]), `series` (`T C`), `file` (series as a CSV or .npy, in base64) or `sample`
(`{"dataset": name or path, "builtin": bool, "index": i}`, of the evaluation split) is shown to it.
`bytes_of`, which is such a sample, is alone in its question: the answer has its bytes.
An answer is one line as well: `{"ok": true, …}` as `run` or `bytes_of` has it, or `{"ok": false,
"message": "…", "hint": "…"}`. The first line says whether networks can run here.

Shapes: `T` steps, `C H W` channels, height, width, `K` classes.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import sys
import traceback
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saf.errors import DataError
from saf.imports import uncollected
from saf.processes.samples import bytes_of, shown
from saf.processes.steps import run

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork

NETWORKS_KEPT = 2
LONGEST_REASON, LONGEST_ANSWER = 500, 15 * 2**20  # characters
NO_MEMORY = ("allocate memory", "out of memory", "bad_alloc")  # as torch says it


def main() -> int:
    """Answer until the socket ends; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m saf.processes.predict", description="Try a network."
    )
    parser.add_argument("socket", type=int)
    parser.add_argument("--max-memory-bytes", type=int, required=True)
    options = parser.parse_args()
    bounds = (options.max_memory_bytes, options.max_memory_bytes)
    resource.setrlimit(resource.RLIMIT_DATA, bounds)
    with socket.socket(fileno=options.socket) as line, line.makefile("rwb") as stream:
        try:
            with uncollected():
                import torch

                import saf.lif.network  # noqa: F401  (the first question is as fast as the next)
        except ImportError as error:
            _say(stream, {"ok": False, "message": f"PyTorch is missing: {error}", "hint": ""})
            return 1
        torch.set_num_threads(1)  # trainings have the machine first
        _say(stream, {"ok": True})
        for question in stream:
            _say(stream, answer(json.loads(question)))
    return 0


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Answer to a question, JSON values alone; never raises."""
    try:
        if "bytes_of" in question:
            return {"ok": True, **bytes_of(question["bytes_of"])}
        network = _network(question)
        found = run(network, shown(network, question), bool(question.get("detail")))
        if len(json.dumps(found, allow_nan=False)) > LONGEST_ANSWER:
            raise DataError(
                f"the answer has more than {LONGEST_ANSWER} characters",
                hint="Download lif.safetensors and run it with `saf run`.",
            )
        return {"ok": True, **found}
    except DataError as error:
        return _refused(str(error), error.hint)
    except (ValueError, OSError) as error:
        return _refused(_first_line(error))
    except Exception as error:
        if isinstance(error, MemoryError) or any(sign in str(error) for sign in NO_MEMORY):
            return _refused(
                f"the network could not be run within its memory: {_first_line(error)}",
                "download lif.safetensors and run it where there is more",
            )
        traceback.print_exc()  # to the log of the service
        return _refused(f"the network cannot be run: {_first_line(error)}")


def _refused(message: str, hint: str = "") -> dict[str, Any]:
    return {"ok": False, "message": message, "hint": hint}


def _first_line(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return said[0][:LONGEST_REASON] if said else type(error).__name__


def _network(question: dict[str, Any]) -> LIFNetwork:
    if "network" in question:
        return _finished(question["network"])
    return _unfinished(question["checkpoint"], question["summary"])


@lru_cache(NETWORKS_KEPT)
def _finished(path: str) -> LIFNetwork:
    from saf.lif.network import load_lif

    return load_lif(Path(path))


@lru_cache(NETWORKS_KEPT)
def _unfinished(path: str, summary: str) -> LIFNetwork:
    from saf.training.checkpoint import Checkpoint
    from saf.training.to_lif import lif_network

    return lif_network(Checkpoint.read(Path(path)), json.loads(summary))


def _say(stream: Any, message: dict[str, Any]) -> None:
    stream.write(json.dumps(message, allow_nan=False).encode() + b"\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
