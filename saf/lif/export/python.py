"""One file of numpy that runs `lif.safetensors`: the documentation of the format, to be run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from saf.config.targets import TARGETS, Obstacle, Played, Reader, Target

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork

PROGRAM = "lif_numpy.py"
NETWORK = "lif.safetensors"
REPLAY_SECONDS = 3600


@TARGETS.add
class Python(Target):
    """`lif_numpy.py`, one file of numpy under 150 lines, and `lif.safetensors`, which it reads:
    for whoever has numpy alone, or wants to see what the network computes."""

    label: ClassVar[str] = "numpy"
    place: ClassVar[int] = 20
    can: ClassVar[tuple[str, ...]] = ("every network",)
    cannot: ClassVar[tuple[str, ...]] = ("weights in bfloat16, which numpy does not have",)
    loading: ClassVar[str] = (
        "from lif_numpy import Network\n\n"
        'scores, spikes = Network("lif.safetensors").run(images)  # N C H W in [0, 1]'
    )

    name: Literal["python"] = "python"

    def obstacles(self, network: LIFNetwork) -> Iterator[Obstacle]:
        yield from ()

    def write(self, network: LIFNetwork, directory: Path) -> tuple[str, ...]:
        program = (files("saf.lif.export") / "templates" / PROGRAM).read_text()
        (directory / PROGRAM).write_text(program)
        network.save(directory / NETWORK)
        return (PROGRAM, NETWORK)

    @contextmanager
    def replay(self, network: LIFNetwork, directory: Path) -> Iterator[Reader]:
        with tempfile.TemporaryDirectory(prefix="saf-export-") as scratch:
            yield _Program(directory.resolve(), Path(scratch))


class _Program:
    """The program in an interpreter of its own, which sees none of our modules."""

    def __init__(self, directory: Path, scratch: Path) -> None:
        self.versions = {"python": sys.version.split()[0], "numpy": np.__version__}
        self._directory, self._scratch = directory, scratch

    def play(self, samples: NDArray[np.float32]) -> Played:
        np.save(self._scratch / "samples.npy", samples)
        result = self._scratch / "result.npz"
        subprocess.run(
            [
                *(sys.executable, "-I", str(self._directory / PROGRAM)),
                *(str(self._directory / NETWORK), str(self._scratch / "samples.npy"), str(result)),
            ],
            check=True,
            capture_output=True,
            timeout=REPLAY_SECONDS,
        )
        with np.load(result) as found:
            arrays = {name: found[name] for name in found.files}
        return Played({k: v for k, v in arrays.items() if k != "scores"}, arrays["scores"])
