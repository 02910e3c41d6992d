"""ONNX: one time step with its state in and out, and the whole sequence.

Shapes: `N` samples, `T` steps, `K` classes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from saf.config.targets import TARGETS, NoReaderError, Obstacle, Played, Reader, Target

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork
    from saf.model.layers import Layer
    from saf.networks.outline import Outline

OPSET = 18
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
        "every network",
        "any number of samples at a time",
        "a stream, one step at a time",
    )
    packages: ClassVar[tuple[str, ...]] = ("onnx",)
    readers: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    loading: ClassVar[str] = (
        "import onnxruntime\n\n"
        'session = onnxruntime.InferenceSession("{file}")\n'
        'scores = session.run(["scores"], {{"x": images}})[0]  # N C H W in [0, 1], float32'
    )

    name: Literal["onnx"] = "onnx"

    def unfit(self, of: Outline) -> Iterator[Obstacle]:
        nodes = of.timesteps * 8 * len(of.architecture.layers)
        if nodes > MOST_NODES:
            yield Obstacle(
                "",
                f"its {of.timesteps} steps make some {nodes:,} nodes when they are unrolled",
                "take the target torch-export or python",
            )

    def write(self, network: LIFNetwork, directory: Path) -> tuple[str, ...]:
        _Graph(network).sequence(directory / SEQUENCE)
        _Graph(network).step(directory / STEP)
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

    def play(self, samples: NDArray[np.float32]) -> Played:
        (scores,) = self._sequence.run(["scores"], {"x": samples})
        of = self._network.description
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
        of_step = np.zeros(0)
        for t in range(of.timesteps):
            x = samples[:, t] if of.frames else samples
            found = dict(zip(outputs, self._step.run(outputs, {"x": x, **state}), strict=True))
            of_step = found["scores"]
            state = {name: found[f"{name}_next"] for name in state}
            for name in names:
                fired[name].append(found[f"s_{name}_next"] > 0.5)
        if (of_step.argmax(1) != scores.argmax(1)).any():
            raise RuntimeError("step.onnx and network.onnx predict different classes")
        return Played({name: np.stack(f, axis=1) for name, f in fired.items()}, scores)


class _Graph:
    """Nodes and constants of a model under construction."""

    def __init__(self, network: LIFNetwork) -> None:
        import onnx

        self._onnx = onnx
        self._network = network
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._count = 0

    def sequence(self, path: Path) -> None:
        """All T steps: x → scores."""
        of = self._network.description
        heard: dict[str, str] = {}
        before: dict[str, str] = {}
        arriving: dict[str, str] = {}
        total = ""
        for t in range(of.timesteps):
            if t == 0 or of.frames:
                x = "x"
                if of.frames:
                    x = self._add("Gather", ["x", self._constant(np.array(t))], axis=1)
                arriving = self._of_input(x)
            current = self._one_step(arriving, heard, before)
            total = self._read_out(current, total)
        if of.readout == "weighted":
            c = sum(of.decay**k for k in range(of.timesteps))
            total = self._add("Div", [total, self._scalar(c)])
        self._nodes.append(self._onnx.helper.make_node("Identity", [total], ["scores"]))
        shape = [*([of.timesteps] if of.frames else []), *of.architecture.input_shape]
        self._save(path, {"x": shape}, {"scores": [len(of.class_names)]})

    def step(self, path: Path) -> None:
        """One step: x and the state → scores and the next state. A state of zeros starts."""
        of = self._network.description
        layers = [layer for layer in self._network.layers if layer.neuron is not None]
        classes = [len(of.class_names)]
        state = {f"{kind}_{layer.name}": list(layer.shape) for layer in layers for kind in "us"}
        state |= {"readout": classes} | ({"ones": []} if of.readout == "weighted" else {})
        heard = {layer.name: f"s_{layer.name}" for layer in layers}
        before = {layer.name: f"u_{layer.name}" for layer in layers}
        current = self._one_step(self._of_input("x"), heard, before)
        total = self._read_out(current, "readout")
        following = {f"u_{name}": at for name, at in before.items()}
        following |= {f"s_{layer.name}": heard[layer.name] for layer in layers}
        following["readout"] = scores = total
        if of.readout == "weighted":  # what a constant 1 has accumulated to, as the readout does
            ones = self._add("Mul", ["ones", self._scalar(of.decay)])
            following["ones"] = self._add("Add", [ones, self._scalar(1.0)])
            per_sample = self._add("Unsqueeze", [following["ones"], self._constant(np.array([1]))])
            scores = self._add("Div", [total, per_sample])
        following["scores"] = scores
        for name, at in following.items():
            output = name if name == "scores" else f"{name}_next"
            self._nodes.append(self._onnx.helper.make_node("Identity", [at], [output]))
        outputs = {f"{name}_next": shape for name, shape in state.items()}
        shape = list(of.architecture.input_shape)
        self._save(path, {"x": shape, **state}, {"scores": classes, **outputs})

    def _one_step(
        self, arriving: Mapping[str, str], heard: dict[str, str], before: dict[str, str]
    ) -> str:
        """Add a step; `heard` (what each layer has sent last) and `before` (potentials) become
        those after it. Returns the current of the readout."""
        of = self._network.description
        for layer in self._network.layers:
            current = self._current(layer, heard, arriving[layer.name])
            if layer.neuron is None:
                heard[layer.name] = current
                continue
            if layer.name in before:
                reset = self._add("Mul", [heard[layer.name], self._scalar(of.threshold)])
                kept = self._add("Sub", [before[layer.name], reset])
                kept = self._add("Mul", [kept, self._scalar(of.decay)])
                current = self._add("Add", [kept, current])
            before[layer.name] = current
            fires = self._add("GreaterOrEqual", [current, self._scalar(of.threshold)])
            heard[layer.name] = self._add("Cast", [fires], to=self._onnx.TensorProto.FLOAT)
        last = self._network.readout_layer
        return self._current(last, heard, arriving[last.name])

    def _read_out(self, current: str, total: str) -> str:
        if not total:
            return current
        if self._network.description.readout == "weighted":
            total = self._add("Mul", [total, self._scalar(self._network.description.decay)])
        return self._add("Add", [total, current])

    def _of_input(self, x: str) -> dict[str, str]:
        """What every layer gets from the input, and its bias."""
        of = self._network.description
        x = self._normalised(x)
        found = {}
        for layer in (*self._network.layers, self._network.readout_layer):
            bias = self._constant(layer.shaped_bias().detach().numpy()[None])
            current = self._current(layer, {"input": x}, bias)
            if of.grid is not None and layer.description.reads_input:
                up = self._add("Mul", [current, self._scalar(2.0**of.grid.bits)])
                up = self._add("Round", [up])
                current = self._add("Mul", [up, self._scalar(2.0**-of.grid.bits)])
            found[layer.name] = current
        return found

    def _normalised(self, x: str) -> str:
        of = self._network.description
        shape = (-1, *(1,) * (len(of.architecture.input_shape) - 1))
        if of.grid is None:
            mean = self._constant(np.array(of.mean, np.float32).reshape(shape))
            std = self._constant(np.array(of.std, np.float32).reshape(shape))
            return self._add("Div", [self._add("Sub", [x, mean]), std])
        from saf.lif.grid.fixed_point import pixel_values

        table = pixel_values(of.mean, of.std, of.grid.input_bits).float().numpy()
        levels = self._add("Round", [self._add("Mul", [x, self._scalar(255.0)])])
        index = self._add("Cast", [levels], to=self._onnx.TensorProto.INT64)
        first = self._constant((np.arange(len(table)) * table.shape[1]).reshape(shape))
        index = self._add("Add", [index, first])
        return self._add("Gather", [self._constant(table.ravel()), index], axis=0)

    def _current(self, layer: Layer, heard: Mapping[str, str], total: str) -> str:
        number = 0
        shapes = self._network.description.architecture.shapes()
        for connection in layer.description.connections:
            x = heard.get(connection.source)
            for operation, shape in connection.shapes(shapes[connection.source]):
                weight = ""
                if operation.kind in ("conv", "linear"):
                    weight = f"{layer.name}.{number}.weight"
                    number += 1
                x = None if x is None else self._operation(operation, shape, weight, x)
            if x is not None:
                total = self._add("Add", [total, x])
        return total

    def _operation(self, operation: Any, shape: tuple[int, ...], weight: str, x: str) -> str:
        match operation.kind:
            case "conv":
                return self._add(
                    "Conv",
                    [x, self._tensor(weight)],
                    kernel_shape=[operation.kernel] * 2,
                    strides=[operation.stride] * 2,
                    pads=[operation.padding] * 4,
                    group=operation.groups,
                )
            case "linear":
                return self._add("MatMul", [x, self._tensor(weight, transposed=True)])
            case "sum_pool" | "average_pool":
                return self._pooled(operation, shape, x)
            case "upsample":
                scales = self._constant(np.array([1, 1, *[operation.factor] * 2], np.float32))
                return self._add(
                    "Resize",
                    [x, "", scales],
                    mode="nearest",
                    coordinate_transformation_mode="asymmetric",
                    nearest_mode="floor",
                )
            case "scale":
                return self._add("Mul", [x, self._scalar(operation.factor)])
            case "flatten":
                return self._add("Reshape", [x, self._constant(np.array([-1, prod(shape)]))])
        raise AssertionError(operation.kind)

    def _pooled(self, operation: Any, shape: tuple[int, ...], x: str) -> str:
        n, (channels, height, width) = operation.kernel, shape
        h, w = height // n, width // n
        if (h * n, w * n) != (height, width):
            starts, ends = (
                self._constant(np.array([0, 0])),
                self._constant(np.array([h * n, w * n])),
            )
            x = self._add("Slice", [x, starts, ends, self._constant(np.array([2, 3]))])
        x = self._add("Reshape", [x, self._constant(np.array([-1, channels, h, n, w, n]))])
        x = self._add("ReduceSum", [x, self._constant(np.array([3, 5]))], keepdims=0)
        if operation.kind == "average_pool":
            x = self._add("Div", [x, self._scalar(float(n * n))])
        return x

    def _add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        self._count += 1
        output = f"{kind.lower()}_{self._count}"
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _tensor(self, name: str, *, transposed: bool = False) -> str:
        if name not in self._constants:
            values = self._network.tensors[name].numpy()
            values = np.ascontiguousarray(values.T if transposed else values)
            self._constants[name] = self._onnx.numpy_helper.from_array(values, name)
        return name

    def _scalar(self, value: float) -> str:
        name = f"scalar_{value!r}"
        if name not in self._constants:
            array = np.array(value, np.float32)
            self._constants[name] = self._onnx.numpy_helper.from_array(array, name)
        return name

    def _constant(self, values: NDArray[Any]) -> str:
        self._count += 1
        name = f"constant_{self._count}"
        self._constants[name] = self._onnx.numpy_helper.from_array(values, name)
        return name

    def _save(self, path: Path, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        helper, kind = self._onnx.helper, self._onnx.TensorProto.FLOAT

        def described(named: dict[str, Any]) -> list[Any]:
            return [
                helper.make_tensor_value_info(name, kind, ["N", *shape])
                for name, shape in named.items()
            ]

        graph = helper.make_graph(
            self._nodes,
            "snn",
            described(inputs),
            described(outputs),
            initializer=list(self._constants.values()),
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="saf-snn"
        )
        model.ir_version = 9
        helper.set_model_props(model, {"class_names": json.dumps(self._network.class_names)})
        self._onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString())
