"""WebAssembly: the integer C of the network, compiled for browsers, and a module that runs it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.resources import as_file, files
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from saf import extras
from saf.config.targets import TARGETS, NoReaderError, Played, Reader
from saf.lif.export.c import SOURCE, STRICT, ZIG, IntegerTarget, write_source
from saf.lif.export.templates.integer_source import IntegerSource
from saf.lif.export.templates.text import template

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork

BINARY, MODULE = "snn.wasm", "snn.js"
SECTION = "saf-snn"
COMPILE_SECONDS = 600
PAGE = 2**16  # bytes by which memory is counted there
STACK, PADDING = 2**16, 2**16  # bytes
MACHINE = ("-target", "wasm32-freestanding", "-mcpu=mvp+bulk_memory", "-nostdlib")


@TARGETS.add
class Wasm(IntegerTarget):
    """The integer C compiled for browsers: `snn.wasm`, which imports nothing and whose memory is
    static, and `snn.js`, a module that loads and runs it. The page of a job runs this one."""

    label: ClassVar[str] = "WebAssembly"
    place: ClassVar[int] = 15
    packages: ClassVar[tuple[str, ...]] = ("ziglang",)
    readers: ClassVar[tuple[str, ...]] = ("wasmtime",)
    extra: ClassVar[extras.Extra] = "wasm"
    loading: ClassVar[str] = (
        'import {{ load }} from "./snn.js";\n\n'
        'const network = await load(fetch("{file}"));\n'
        "const {{ predicted, scores }} = network.run(pixels); // a Uint8Array: C H W, 0 to 255"
    )

    name: Literal["wasm"] = "wasm"

    def write(self, network: LIFNetwork, directory: Path) -> tuple[str, ...]:
        source = IntegerSource(network)
        (directory / BINARY).write_bytes(_compiled(source) + _section(network, source))
        (directory / MODULE).write_text(template(MODULE), encoding="utf-8")
        return (BINARY, MODULE)

    @contextmanager
    def replay(self, network: LIFNetwork, directory: Path) -> Iterator[Reader]:
        try:
            import wasmtime
        except ModuleNotFoundError as error:
            raise NoReaderError(
                f"wasmtime is not installed here: {extras.remedy('wasm')}"
            ) from error
        engine = wasmtime.Engine()
        try:
            module = wasmtime.Module.from_file(engine, str(directory / BINARY))
            store = wasmtime.Store(engine)
            yield _Instance(wasmtime.Instance(store, module, []), store, network)
        except wasmtime.WasmtimeError as error:
            raise RuntimeError(str(error)) from error

    def facts(self, network: LIFNetwork, directory: Path) -> dict[str, Any]:
        found = super().facts(network, directory)
        return {**found, "memory_bytes": _memory_bytes(IntegerSource(network))}


class _Instance:
    """The module in wasmtime, a sample at a time."""

    def __init__(self, instance: Any, store: Any, network: LIFNetwork) -> None:
        self.versions = {name: version(name) for name in ("ziglang", "wasmtime")}
        self._exports, self._store, self._network = instance.exports(store), store, network

    def play(
        self, samples: NDArray[np.float32], lengths: NDArray[np.int64] | None = None
    ) -> Played:
        levels = np.rint(samples * 255).astype(np.uint8)
        layers = [layer for layer in self._network.layers if layer.neuron is not None]
        steps, classes = self._network.timesteps, len(self._network.class_names)
        spikes = {
            layer.name: np.zeros((len(samples), steps, prod(layer.shape)), bool) for layer in layers
        }
        scores = np.empty((len(samples), classes), np.int32)
        ends = np.full(len(samples), steps) if lengths is None else lengths
        at = self._call("sample")
        for n, sample in enumerate(levels):
            self._exports["memory"].write(self._store, sample.tobytes(), at)
            self._call("begin")
            for t in range(ends[n]):
                self._call("step")
                for number, fired in enumerate(spikes.values()):
                    fired[n, t] = self._read(np.uint8, fired.shape[2], "spikes", number)
            scores[n] = self._read(np.int32, classes, "scores")
            if self._call("predicted") != scores[n].argmax():
                raise RuntimeError("its prediction is not the class with the highest score")
        shaped = {
            layer.name: spikes[layer.name].reshape(len(samples), steps, *layer.shape)
            for layer in layers
        }
        return Played(shaped, scores.astype(np.float64))

    def _call(self, name: str, *given: int) -> int:
        found: int = self._exports[name](self._store, *given)
        return found

    def _read(self, kind: type[np.generic], count: int, name: str, *given: int) -> NDArray[Any]:
        at = self._call(name, *given)
        end = at + count * np.dtype(kind).itemsize
        return np.frombuffer(self._exports["memory"].read(self._store, at, end), kind)


def _compiled(source: IntegerSource) -> bytes:
    """The module of a network. Raises OSError where a disk is full, RuntimeError where the compiler
    refuses it."""
    memory = _memory_bytes(source)
    linked = (
        f"-Wl,--no-entry,-s,-z,stack-size={STACK},--initial-memory={memory},--max-memory={memory}"
    )
    with (
        tempfile.TemporaryDirectory(prefix="saf-export-") as name,
        as_file(files("saf.lif.export") / "templates" / "freestanding") as headers,
    ):
        scratch = Path(name)
        write_source(source, scratch)
        (scratch / "wasm.c").write_text(template("wasm.c"))
        command = [*ZIG, *MACHINE, *STRICT, linked, "-I", str(headers), "wasm.c", SOURCE]
        # What the compiler keeps is of no use to the next network.
        own = {"ZIG_GLOBAL_CACHE_DIR": name, "ZIG_LOCAL_CACHE_DIR": name}
        ran = subprocess.run(
            [*command, "-o", BINARY],
            cwd=scratch,
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            timeout=COMPILE_SECONDS,
        )
        if ran.returncode:
            raise RuntimeError(f"the compiler refuses {SOURCE}: {ran.stderr[-2000:]}")
        return (scratch / BINARY).read_bytes()


def _memory_bytes(source: IntegerSource) -> int:
    """All memory that the module has, in whole pages."""
    of = source.network.description
    sample = prod(of.architecture.input_shape) * (of.timesteps if of.frames else 1)
    needed = source.weight_bytes + source.static_bytes + sample + STACK + PADDING
    return -(-needed // PAGE) * PAGE


def _section(network: LIFNetwork, source: IntegerSource) -> bytes:
    """What the module says of itself, as a custom section, which WebAssembly passes over."""
    of = network.description
    about = {
        "is": repr(network),
        "timesteps": of.timesteps,
        "frames": of.frames,
        "input_shape": list(of.architecture.input_shape),
        "class_names": list(of.class_names),
        "layers": [
            {"name": layer.name, "shape": list(layer.shape)}
            for layer in network.layers
            if layer.neuron is not None
        ],
        "score_bits": source.score_bits,
        "weighted": source.final,
        "decay": of.decay,
    }
    content = _counted(SECTION.encode()) + json.dumps(about, ensure_ascii=False).encode()
    return b"\0" + _counted(content)


def _counted(content: bytes) -> bytes:
    """Bytes behind their number, in LEB128."""
    left, number = len(content), bytearray()
    while left > 127:
        number.append(left & 127 | 128)
        left >>= 7
    return bytes([*number, left]) + content
