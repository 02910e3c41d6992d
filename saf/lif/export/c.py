"""Integer C99: the network on its grid as one header and one source, without dependencies.

    u[t] = (u[t−1] − V s[t−1]) / 2^n + I[t]            s[t] = u[t] ≥ V

for λ = 2^−n of the layer, in units of 2^−R, R = F + n (T − 1), where F are the fractional bits of
the current: every number is a whole one, no division leaves a rest, and none needs more than 24
bits (docs/proof.md).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from saf.config.targets import TARGETS, NoReaderError, Obstacle, Played, Reader, Target
from saf.lif.export.templates.integer_program import header, program
from saf.lif.export.templates.integer_source import IntegerSource
from saf.lif.export.templates.text import template
from saf.powers import SIGNIFICANT_BITS

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork
    from saf.networks.outline import Outline

REPLAY_SECONDS = 600
MOST_BITS = 30
MOST_EXACT = SIGNIFICANT_BITS["float32"]
"""Bits that no sum exceeds: those of float32, with which the replay compares."""
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-O2")
ZIG = (sys.executable, "-P", "-m", "ziglang", "cc")
HEADER, SOURCE = "snn.h", "snn.c"


class IntegerTarget(Target):
    """A target of integers: the networks whose C `IntegerSource` can write."""

    can: ClassVar[tuple[str, ...]] = (
        "every network proven in float32 on a grid (conversion.grid_bits): LIF neurons with V = 1, "
        "and in each layer a λ = 2^−n of its own",
        "convolutions, linear maps, pooling, skip connections, feedback, delays, residual streams",
        "images, event frames and series in bytes, series that end before T",
    )
    cannot: ClassVar[tuple[str, ...]] = (
        "networks on no grid: encodings, the readouts last and max",
        "neurons with a synaptic current or an adaptive threshold",
    )
    neurons: ClassVar[tuple[str, ...]] = ("lif",)
    delays: ClassVar[bool] = True
    rows: ClassVar[bool] = True
    lengths: ClassVar[bool] = True

    def unfit(self, of: Outline) -> Iterator[Obstacle]:
        if of.grid is None:
            yield Obstacle(
                "",
                "its weights are on no grid, so integers cannot hold them",
                'train or convert it with conversion.grid_bits "auto", which wants samples in '
                "[0, 1], or take the target python",
            )

    def obstacles(self, network: LIFNetwork) -> Iterator[Obstacle]:
        from saf.lif.grid.exactness import bounds

        if network.description.grid is None or any(
            constants["name"] != "lif" for constants in network.description.neurons.values()
        ):
            return
        for bound in bounds(network):
            if not bound.exact_in(MOST_EXACT):
                yield Obstacle(
                    bound.name,
                    f"its sums need {bound.bits_needed} bits, and {MOST_EXACT} are proven to be "
                    "exact",
                    "convert it with fewer conversion.grid_bits, train it with fewer timesteps, or "
                    "with a neuron.decay nearer to 1",
                )
                return
        bits = IntegerSource(network).most_bits
        if bits > MOST_BITS:
            yield Obstacle(
                "",
                f"maps in a row have {bits} fractional bits, and an int32_t holds {MOST_BITS}",
                "convert it with fewer conversion.grid_bits",
            )

    def facts(self, network: LIFNetwork, directory: Path) -> dict[str, Any]:
        source = IntegerSource(network)
        return {
            "weight_bytes": source.weight_bytes,
            "static_bytes": source.static_bytes,
            "weights": source.types,
            "weight_scales": source.scales,
            "scores": f"scores[k] × 2^-{source.score_bits}"
            + (f" / {source.score_divisor!r}" if source.final else ""),
        }


@TARGETS.add
class C(IntegerTarget):
    """Integer C99 for microcontrollers: `snn.h` and `snn.c`, no floating point, no `malloc`, no
    dependency. Weights in 8 or 16 bits, potentials in 32, all memory static and counted."""

    label: ClassVar[str] = "integer C99"
    place: ClassVar[int] = 10
    loading: ClassVar[str] = '#include "snn.h"\nint class_index = snn_run(pixels);'

    name: Literal["c"] = "c"

    def write(self, network: LIFNetwork, directory: Path) -> tuple[str, ...]:
        write_source(IntegerSource(network), directory)
        return (HEADER, SOURCE)

    @contextmanager
    def replay(self, network: LIFNetwork, directory: Path) -> Iterator[Reader]:
        compiler = _compiler()
        with tempfile.TemporaryDirectory(prefix="saf-export-") as scratch:
            program = Path(scratch, "replay")
            main = Path(scratch, "replay.c")
            main.write_text(template("replay.c"))
            command = [*compiler, *STRICT, f"-I{directory.resolve()}", str(main)]
            command += [str(directory.resolve() / SOURCE), "-o", str(program)]
            ran = subprocess.run(command, capture_output=True, text=True, timeout=REPLAY_SECONDS)
            if ran.returncode:
                raise RuntimeError(f"{compiler[0]} refuses {SOURCE}: {ran.stderr[-2000:]}")
            yield _Program(program, network, {"compiler": _version(compiler)})


def write_source(source: IntegerSource, directory: Path) -> None:
    """Write header and source."""
    (directory / HEADER).write_text(header(source))
    (directory / SOURCE).write_text(program(source))


class _Program:
    """The compiled network, fed with bytes."""

    def __init__(self, program: Path, network: LIFNetwork, versions: dict[str, str]) -> None:
        self.versions = versions
        self._program, self._network = program, network

    def play(
        self, samples: NDArray[np.float32], lengths: NDArray[np.int64] | None = None
    ) -> Played:
        levels = np.rint(samples * 255).astype(np.uint8)
        ran = subprocess.run(
            [str(self._program)],
            input=levels.tobytes(),
            capture_output=True,
            timeout=REPLAY_SECONDS,
            check=True,
        )
        shapes = {
            layer.name: layer.shape for layer in self._network.layers if layer.neuron is not None
        }
        count, steps = len(samples), self._network.timesteps
        neurons = sum(map(prod, shapes.values()))
        found = np.frombuffer(ran.stdout, np.uint8).reshape(count, steps, -1)
        spikes, start = {}, 0
        for name, shape in shapes.items():
            end = start + prod(shape)
            spikes[name] = found[:, :, start:end].reshape(count, steps, *shape) != 0
            start = end
        ends = np.full(count, steps) if lengths is None else lengths
        scores = np.ascontiguousarray(found[np.arange(count), ends - 1, neurons:]).view(np.int32)
        return Played(spikes, scores.astype(np.float64))


def _compiler() -> list[str]:
    """The C compiler of this machine. Raises NoReaderError where there is none."""
    for name in filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")):
        if shutil.which(name):
            return [name]
    if find_spec("ziglang") is not None:
        return list(ZIG)
    raise NoReaderError("there is no C compiler here (cc, gcc or clang)")


def _version(compiler: list[str]) -> str:
    told = subprocess.run([*compiler, "--version"], capture_output=True, text=True, timeout=60)
    return told.stdout.partition("\n")[0].strip()
