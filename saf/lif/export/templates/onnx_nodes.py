"""Nodes and constants of ONNX, and the maps of a connection made of them.

Shapes: `N` samples.
"""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork

OPSET = 18


class Nodes:
    """Nodes and constants of a model under construction. A value is known by its name."""

    def __init__(self, network: LIFNetwork) -> None:
        import onnx

        self._onnx = onnx
        self._network = network
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._count = 0

    def _add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        self._count += 1
        output = f"{kind.lower()}_{self._count}"
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _named(self, output: str, at: str) -> None:
        """Call a value by the name of an output."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [at], [output]))

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

    def _operation(self, operation: Any, shape: tuple[int, ...], weight: str, x: str) -> str:
        match operation.kind:
            case "conv" | "conv1d":
                return self._add(
                    "Conv",
                    [x, self._tensor(weight)],
                    kernel_shape=list(operation.window),
                    strides=list(operation.strides),
                    pads=[*operation.paddings] * 2,
                    group=operation.groups,
                )
            case "linear":
                return self._add("MatMul", [x, self._tensor(weight, transposed=True)])
            case "sum_pool" | "average_pool" | "sum_pool1d" | "average_pool1d":
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
            case "in_a_row":
                row = [-1, *operation.output_shape(shape)]
                return self._add("Reshape", [x, self._constant(np.array(row))])
        raise AssertionError(operation.kind)

    def _pooled(self, operation: Any, shape: tuple[int, ...], x: str) -> str:
        (n, m), (channels, height, width) = operation.window, shape
        h, w = height // n, width // m
        if (h * n, w * m) != (height, width):
            starts, ends = (
                self._constant(np.array([0, 0])),
                self._constant(np.array([h * n, w * m])),
            )
            x = self._add("Slice", [x, starts, ends, self._constant(np.array([2, 3]))])
        x = self._add("Reshape", [x, self._constant(np.array([-1, channels, h, n, w, m]))])
        x = self._add("ReduceSum", [x, self._constant(np.array([3, 5]))], keepdims=0)
        if operation.kind.startswith("average"):
            x = self._add("Div", [x, self._scalar(float(n * m))])
        return x
