"""ONNX: one time step with its state in and out, and the whole sequence.

Shapes: `N` samples, `T` steps, `K` classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from saf.config.methods import Readout
from saf.config.targets import TARGETS, NoReaderError, Obstacle, Played, Reader, Target
from saf.lif.export.templates.onnx_graph import EACH, FIRED, NEXT, SCORES, Graph

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork
    from saf.networks.outline import Outline

SEQUENCE, STEP = "network.onnx", "step.onnx"
MOST_NODES = 50_000


@TARGETS.add
class Onnx(Target):
    """ONNX in float32: `network.onnx` computes scores from a sample, all T steps unrolled;
    `step.onnx` is one step, with the state as further inputs and outputs, for streams. Any number
    of samples at a time."""

    label: ClassVar[str] = "ONNX"
    place: ClassVar[int] = 30
    can: ClassVar[tuple[str, ...]] = (
        "every network, its encoding included",
        "any number of samples at a time",
        "a stream, one step at a time",
        "series that end before T (the scores after each step)",
    )
    packages: ClassVar[tuple[str, ...]] = ("onnx",)
    readers: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    loading: ClassVar[str] = (
        "import onnxruntime\n\n"
        'session = onnxruntime.InferenceSession("{file}")\n'
        'scores = session.run(["scores"], {{"x": x}})[0]  # {samples}, float32; series N T C 1 1'
    )
    neurons: ClassVar[tuple[str, ...]] = ("lif", "cuba", "alif")
    delays: ClassVar[bool] = True
    rows: ClassVar[bool] = True
    encodings: ClassVar[tuple[str, ...]] = ("onoff", "delta", "rate", "latency")
    readouts: ClassVar[tuple[Readout, ...]] = ("mean", "weighted", "last", "max")
    lengths: ClassVar[bool] = True

    name: Literal["onnx"] = "onnx"

    def unfit(self, of: Outline) -> Iterator[Obstacle]:
        layers = (*of.architecture.layers, of.architecture.readout)
        nodes = of.timesteps * sum(6 + 3 * len(layer.connections) for layer in layers)
        if nodes > MOST_NODES:
            yield Obstacle(
                "",
                f"its {of.timesteps} steps make some {nodes:,} nodes when they are unrolled",
                "take the target torch-export or python",
            )

    def write(self, network: LIFNetwork, directory: Path) -> tuple[str, ...]:
        Graph(network).sequence(directory / SEQUENCE)
        Graph(network).step(directory / STEP)
        return (SEQUENCE, STEP)

    @contextmanager
    def replay(self, network: LIFNetwork, directory: Path) -> Iterator[Reader]:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise NoReaderError("onnxruntime is not installed here") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        sessions = [
            onnxruntime.InferenceSession(
                directory / name, options, providers=["CPUExecutionProvider"]
            )
            for name in (SEQUENCE, STEP)
        ]
        sequence, step = sessions
        yield _Sessions(network, sequence, step, {"onnxruntime": onnxruntime.__version__})


class _Sessions:
    """Scores of the whole sequence, spikes of the same sequence step by step."""

    def __init__(
        self, network: LIFNetwork, sequence: Any, step: Any, versions: dict[str, str]
    ) -> None:
        self.versions = versions
        self._network, self._sequence, self._step = network, sequence, step

    def play(
        self, samples: NDArray[np.float32], lengths: NDArray[np.int64] | None = None
    ) -> Played:
        of, everyone = self._network.description, np.arange(len(samples))
        ends = np.full(len(samples), of.timesteps) if lengths is None else lengths
        if of.frames:
            scores, each = self._sequence.run([SCORES, EACH], {"x": samples})
            if (each[:, -1] != scores).any():
                raise RuntimeError(f"{SEQUENCE} has other scores after its last step than {SCORES}")
            scores = each[everyone, ends - 1]
        else:
            (scores,) = self._sequence.run([SCORES], {"x": samples})
        state = {
            each.name: np.zeros(
                [len(samples) if axis == "N" else axis for axis in each.shape], np.float32
            )
            for each in self._step.get_inputs()
            if each.name != "x"
        }
        names = [layer.name for layer in self._network.layers if layer.neuron is not None]
        fired: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in names}
        outputs = [each.name for each in self._step.get_outputs()]
        step_by_step = np.zeros(scores.shape, np.float32)
        for t in range(of.timesteps):
            x = samples[:, t] if of.frames else samples
            found = dict(zip(outputs, self._step.run(outputs, {"x": x, **state}), strict=True))
            step_by_step[ends == t + 1] = found[SCORES][ends == t + 1]
            state = {name: found[name + NEXT] for name in state}
            for name in names:
                fired[name].append(found[FIRED + name + NEXT] > 0.5)
        if (step_by_step.argmax(1) != scores.argmax(1)).any():
            raise RuntimeError(f"{STEP} and {SEQUENCE} predict different classes")
        return Played({name: np.stack(f, axis=1) for name, f in fired.items()}, scores)
