"""Replay in a Python interpreter of its own, which sees none of our modules."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from saf.config.targets import Played, Reader

REPLAY_SECONDS = 3600
OF_PIP = ("PIP_",)  # may hold a password of an index
log = logging.getLogger(__name__)


@dataclass
class _Interpreter:
    command: Sequence[str]
    versions: dict[str, str]
    scratch: Path
    python: str

    def play(
        self, samples: NDArray[np.float32], lengths: NDArray[np.int64] | None = None
    ) -> Played:
        given, result = self.scratch / "samples.npy", self.scratch / "result.npz"
        np.save(given, samples)
        files = [given, result]
        if lengths is not None:
            files.append(self.scratch / "lengths.npy")
            np.save(files[-1], lengths)
        ran = subprocess.run(
            [self.python, "-I", *self.command, *map(str, files)],
            capture_output=True,
            text=True,
            timeout=REPLAY_SECONDS,
            env={k: value for k, value in os.environ.items() if not k.startswith(OF_PIP)},
        )
        if ran.returncode:
            raise RuntimeError(ran.stderr[-2000:])
        if ran.stderr:
            log.info("%s: %s", self.command[0], ran.stderr[-2000:])
        with np.load(result) as found:
            arrays = {name: found[name] for name in found.files}
        scores = arrays.pop("scores")
        return Played({name.removeprefix("s_"): fired for name, fired in arrays.items()}, scores)


@contextmanager
def interpreted(
    command: Sequence[str], versions: dict[str, str], *, python: str = sys.executable
) -> Iterator[Reader]:
    """A reader that runs `python command SAMPLES.npy RESULT.npz`, of padded samples with
    `LENGTHS.npy` behind; the result holds `scores` and, as `s_` and the name of each layer, its
    spikes, N T …."""
    with tempfile.TemporaryDirectory(prefix="saf-export-") as scratch:
        yield _Interpreter(command, versions, Path(scratch), python)
