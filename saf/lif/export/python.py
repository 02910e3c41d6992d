"""One file of numpy that runs `lif.safetensors`: the documentation of the format, to be run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from saf.config.methods import Readout
from saf.config.targets import TARGETS, Reader, Target
from saf.lif.export.templates.interpreter import interpreted

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork

PROGRAM = "lif_numpy.py"
NETWORK = "lif.safetensors"


@TARGETS.add
class Python(Target):
    """`lif_numpy.py`, one file of numpy of 230 lines, and `lif.safetensors`, which it reads:
    for whoever has numpy alone, or wants to see what the network computes."""

    label: ClassVar[str] = "numpy"
    place: ClassVar[int] = 20
    can: ClassVar[tuple[str, ...]] = (
        "every network, its encoding included",
        "series that end before T (`lengths`)",
    )
    loading: ClassVar[str] = (
        "from lif_numpy import Network\n\n"
        'scores, spikes = Network("lif.safetensors").run(x)  # {samples}'
    )

    neurons: ClassVar[tuple[str, ...]] = ("lif", "cuba", "alif")
    delays: ClassVar[bool] = True
    rows: ClassVar[bool] = True
    encodings: ClassVar[tuple[str, ...]] = ("onoff", "delta", "rate", "latency")
    readouts: ClassVar[tuple[Readout, ...]] = ("mean", "weighted", "last", "max")
    lengths: ClassVar[bool] = True

    name: Literal["python"] = "python"

    def write(self, network: LIFNetwork, directory: Path) -> tuple[str, ...]:
        program = (files("saf.lif.export") / "templates" / PROGRAM).read_text()
        (directory / PROGRAM).write_text(program)
        network.save(directory / NETWORK)
        return (PROGRAM, NETWORK)

    @contextmanager
    def replay(self, network: LIFNetwork, directory: Path) -> Iterator[Reader]:
        files_of_it = [str(directory.resolve() / name) for name in (PROGRAM, NETWORK)]
        versions = {"python": sys.version.split()[0], "numpy": np.__version__}
        with interpreted(files_of_it, versions) as reader:
            yield reader
