"""The C of a network on a grid: its arrays, its constants, and the lines of a time step.

    u[t] = (u[t−1] − V s[t−1]) / 2^n + I[t]            s[t] = u[t] ≥ V

for λ = 2^−n of the layer, in units of 2^−R, R = F + n (T − 1), where F are the fractional bits of
the current.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork
    from saf.model.layers import Layer


@dataclass
class _Stage:
    """A value on the way of a connection: a C expression, its shape and its fractional bits."""

    at: str
    shape: tuple[int, ...]
    bits: int
    kind: str  # of the array: u8 or i32


@dataclass
class IntegerSource:
    """The constants, arrays and lines of a network on a grid."""

    network: LIFNetwork
    types: dict[str, str] = field(default_factory=dict)
    """The integer type of each weight, by the name of the tensor."""
    scales: dict[str, str] = field(default_factory=dict)
    """By what its integers are to be multiplied, likewise."""
    weight_bytes: int = 0
    static_bytes: int = 0
    score_bits: int = 0
    score_divisor: float = 1.0
    """By what scores are to be divided: c[T] of the weighted readout."""
    most_bits: int = 0
    """Bits by which a number is shifted at most: 30 fit an int32_t."""
    constants: list[tuple[str, str, NDArray[np.int64]]] = field(default_factory=list)
    """Type, name and values of each."""
    arrays: list[str] = field(default_factory=list)
    """Declarations of the memory that changes."""
    kernels: dict[str, str] = field(default_factory=dict)
    """Definitions of the operations, by name."""
    begin: list[str] = field(default_factory=list)
    """Lines that read a sample, of frames each of them."""
    step: list[str] = field(default_factory=list)
    """Lines of a time step."""
    reset: list[str] = field(default_factory=list)
    """Lines that begin anew."""
    thresholds: dict[str, int] = field(default_factory=dict)
    """V of each layer, in units of its potential."""
    _bits: dict[str, int] = field(default_factory=dict)
    _scratch: list[int] = field(default_factory=lambda: [0, 0])
    _largest: int = 0

    def __post_init__(self) -> None:
        of = self.network.description
        assert of.grid is not None
        self.final = of.readout == "weighted"
        self._k, self._m = of.grid.bits, of.grid.input_bits
        self.timesteps = of.timesteps
        self._depths = of.architecture.delays
        self.input_shape = of.architecture.input_shape
        self._pixels()
        layers = (*self.network.layers, self.network.readout_layer)
        self._bits = dict.fromkeys((layer.name for layer in self.spiking()), 0)
        for layer in layers:
            if layer.neuron is None:
                self._bits[layer.name] = self._fraction(layer)
        for layer in layers:
            self._layer(layer, readout=layer is layers[-1])
        self._array("int32_t", "current", self._largest)
        for number, size in enumerate(self._scratch):
            if size:
                self._array("int32_t", f"scratch{number}", size)
        self._lines()

    def spiking(self) -> list[Layer]:
        """The layers with neurons, in order."""
        return [layer for layer in self.network.layers if layer.neuron is not None]

    def _pixels(self) -> None:
        from saf.lif.grid.fixed_point import pixel_values

        of = self.network.description
        levels = pixel_values(of.mean, of.std, self._m).numpy() * 2.0**self._m
        self._constant("levels", levels.astype(np.int64))
        self._array("int32_t", "x", prod(self.input_shape))
        plane = prod(self.input_shape[1:])
        self.begin += [
            f"for (int i = 0; i < {prod(self.input_shape)}; i++)",
            f"    x[i] = levels[i / {plane} * 256 + frame[i]];",
        ]

    def _fraction(self, layer: Layer) -> int:
        """The fractional bits of the current of a layer, without those of its own halvings."""
        return max(
            [self._k, *(bits for source, bits in self._arriving(layer) if source != "input")]
        )

    def _arriving(self, layer: Layer) -> list[tuple[str, int]]:
        """The source of each connection, and the fractional bits of what it brings: as many as the
        proof counts, so that 24 bits hold the sums that are proven to need no more."""
        from saf.lif.grid.fixed_point import fraction_bits

        found, number = [], 0
        for connection in layer.description.connections:
            bits = self._m if connection.source == "input" else self._bits[connection.source]
            for operation in connection.operations:
                if operation.kind in ("conv", "conv1d", "linear"):
                    bits += self._bits_of(f"{layer.name}.{number}.weight")
                    number += 1
                elif operation.kind == "scale":
                    bits += fraction_bits(operation.factor)
            found.append((connection.source, bits))
        return found

    def order(self) -> str:
        """In which order the numbers of a sample come, for people."""
        of = self.network.description
        if of.image is not None:
            return f", an image {of.image.words}"
        return ", time step after time step" if of.frames else ""

    def _lines(self) -> None:
        """Rings of what sources have sent in the last steps, for connections with delays."""
        shapes = self.network.description.architecture.shapes()
        for source, depth in self._depths.items():
            at, kind = self._sent(source)
            ring, size = f"d_{source}", prod(shapes[source])
            self._array(kind, ring, depth * size)
            self.reset.append(f"memset({ring}, 0, sizeof {ring});")
            self.step += [
                f"for (int i = 0; i < {size}; i++)",
                f"    {ring}[steps % {depth} * {size} + i] = {at}[i];",
            ]
        if self._depths:
            self._array("int32_t", "steps", 0)
            self.reset.append("steps = 0;")
            self.step.append("steps++;")

    def _sent(self, source: str) -> tuple[str, str]:
        """The array of what a source sends in a step, and its type."""
        if source == "input":
            return "x", "int32_t"
        if self._is_spiking(source):
            return f"s_{source}", "uint8_t"
        return f"r_{source}", "int32_t"

    def _layer(self, layer: Layer, *, readout: bool) -> None:
        size, name, bits = prod(layer.shape), layer.name, self._fraction(layer)
        self._largest = max(self._largest, size)
        bias = np.rint(layer.bias.double().numpy() * 2.0**self._k).astype(np.int64)
        self._constant(f"b_{name}", bias)
        plane = size // len(bias)
        arriving = self._arriving(layer)
        up = f" * {2 ** (bits - self._k)}" if bits > self._k else ""
        number = 0
        from_input: list[str] = []
        heard: list[str] = []
        input_bits = max([self._k, *(b for source, b in arriving if source == "input")])
        left = self._halvings(layer) if layer.neuron is not None or (readout and self.final) else 0
        self.most_bits = max(self.most_bits, input_bits, bits + left)
        for connection, (source, arrived) in zip(
            layer.description.connections, arriving, strict=True
        ):
            of_input = source == "input"
            common = input_bits if of_input else bits
            lines, number = self._connection(layer, connection, number, 2 ** (common - arrived))
            (from_input if of_input else heard).extend(lines)
        self.step.append(f"/* {name} */")
        if from_input:
            self._array("int32_t", f"i_{name}", size)
            self.begin += [
                f"for (int i = 0; i < {size}; i++)",
                f"    current[i] = b_{name}[i / {plane}] * {2 ** (input_bits - self._k)};",
                *from_input,
                f"for (int i = 0; i < {size}; i++)",
                f"    i_{name}[i] = snn_rounded(current[i], {input_bits - self._k});",
            ]
            start = f"i_{name}[i]{up}"
        else:
            start = f"b_{name}[i / {plane}]{up}"
        self.step += [f"for (int i = 0; i < {size}; i++)", f"    current[i] = {start};", *heard]
        if readout:
            self._read_out(layer, size, bits)
        elif layer.neuron is None:
            self._array("int32_t", f"r_{name}", size)
            self.step.append(f"memcpy(r_{name}, current, sizeof r_{name});")
        else:
            self._fire(layer, size, bits)

    def _halvings(self, layer: Layer) -> int:
        """The fractional bits that the halvings of all time steps add: n (T − 1)."""
        from saf.powers import halvings

        n = halvings(layer.decay)
        assert n is not None
        return n * (self.timesteps - 1)

    def _fire(self, layer: Layer, size: int, bits: int) -> None:
        name, halvings = layer.name, self._halvings(layer)
        threshold = self.thresholds[name] = 2 ** (bits + halvings)
        self._array("int32_t", f"u_{name}", size)
        self._array("uint8_t", f"s_{name}", size)
        self.reset += [
            f"memset(u_{name}, 0, sizeof u_{name});",
            f"memset(s_{name}, 0, sizeof s_{name});",
        ]
        self.step += [
            f"for (int i = 0; i < {size}; i++) {{",
            f"    u_{name}[i] = (u_{name}[i] - s_{name}[i] * {threshold}){_divided(layer)}"
            f" + current[i] * {2**halvings};",
            f"    s_{name}[i] = u_{name}[i] >= {threshold};",
            "}",
        ]

    def _read_out(self, layer: Layer, size: int, bits: int) -> None:
        self._array("int32_t", "scores", size)
        self.reset.append("memset(scores, 0, sizeof scores);")
        halvings = self._halvings(layer) if self.final else 0
        self.score_bits = bits + halvings
        self.score_divisor = layer.accumulated_one(self.timesteps) if self.final else 1.0
        before = f"scores[i]{_divided(layer)}" if self.final else "scores[i]"
        times = f" * {2**halvings}" if halvings else ""
        self.step += [
            f"for (int i = 0; i < {size}; i++)",
            f"    scores[i] = {before} + current[i]{times};",
        ]

    def _connection(
        self, layer: Layer, connection: Any, number: int, times: int
    ) -> tuple[list[str], int]:
        """The lines that add what a connection brings, `times` over, to `current`; `number` counts
        the weights of the layer."""
        source, delay = connection.source, connection.delay
        shapes = self.network.description.architecture.shapes()
        at, kind = self._sent(source)
        if delay:
            depth, size = self._depths[source], prod(shapes[source])
            at = f"d_{source} + (steps + {depth - delay}) % {depth} * {size}"
        stage = _Stage(at, shapes[source], 0, kind)
        steps = [
            (operation, shape)
            for operation, shape in connection.shapes(shapes[source])
            if operation.kind not in ("flatten", "in_a_row")  # the order of numbers stays
        ]
        lines: list[str] = []
        for position, (operation, shape) in enumerate(steps):
            last = position == len(steps) - 1
            after = operation.output_shape(shape)
            to = "current"
            if not last:
                to = f"scratch{position % 2}"
                self._scratch[position % 2] = max(self._scratch[position % 2], prod(after))
                lines += [f"for (int i = 0; i < {prod(after)}; i++)", f"    {to}[i] = 0;"]
            line, weighs = self._operation(
                layer, operation, shape, after, stage, to, number, times if last else 1
            )
            number += weighs
            lines.append(line)
            stage = _Stage(to, after, 0, "int32_t")
        if not steps:
            lines.append(self._added(stage, times))
        return lines, number

    def _added(self, stage: _Stage, times: int) -> str:
        kernel = self._kernel("SNN_ADD", "add", stage.kind)
        return f"{kernel}(current, {stage.at}, {prod(stage.shape)}, {times});"

    def _operation(
        self,
        layer: Layer,
        operation: Any,
        before: tuple[int, ...],
        after: tuple[int, ...],
        stage: _Stage,
        to: str,
        number: int,
        times: int,
    ) -> tuple[str, int]:
        match operation.kind:
            case "conv" | "conv1d":
                weight, kind = self._weight(f"{layer.name}.{number}.weight")
                kernel = self._kernel("SNN_CONV", "conv", stage.kind, kind)
                shape = ", ".join(map(str, (*before, *after)))
                how = (*operation.window, *operation.strides, *operation.paddings)
                given = ", ".join(map(str, (*how, operation.groups, times)))
                return f"{kernel}({to}, {stage.at}, {weight}, {shape}, {given});", 1
            case "linear":
                weight, kind = self._weight(f"{layer.name}.{number}.weight")
                kernel = self._kernel("SNN_LINEAR", "linear", stage.kind, kind)
                size = f"{before[0]}, {after[0]}"
                return f"{kernel}({to}, {stage.at}, {weight}, {size}, {times});", 1
            case "sum_pool" | "sum_pool1d":
                kernel = self._kernel("SNN_POOL", "pool", stage.kind)
                given = ", ".join(map(str, (*before, *operation.window, times)))
                return f"{kernel}({to}, {stage.at}, {given});", 0
            case "upsample":
                kernel = self._kernel("SNN_UPSAMPLE", "upsample", stage.kind)
                shape = ", ".join(map(str, before))
                return f"{kernel}({to}, {stage.at}, {shape}, {operation.factor}, {times});", 0
            case "scale":
                from saf.lif.grid.fixed_point import fraction_bits

                factor = round(operation.factor * 2.0 ** fraction_bits(operation.factor))
                kernel = self._kernel("SNN_ADD", "add", stage.kind)
                return f"{kernel}({to}, {stage.at}, {prod(before)}, {times * factor});", 0
        raise AssertionError(operation.kind)

    def _is_spiking(self, name: str) -> bool:
        return any(layer.name == name for layer in self.spiking())

    def _kernel(self, macro: str, stem: str, source: str, weight: str = "") -> str:
        name = "_".join(filter(None, (stem, _SHORT[source], _SHORT.get(weight, ""))))
        kinds = ", ".join(filter(None, (name, source, weight)))
        self.kernels[name] = f"{macro}({kinds})"
        return name

    def _bits_of(self, tensor: str) -> int:
        """The fractional bits of a weight: one of few bits may be on a coarser grid than the
        network."""
        from saf.lif.grid.fixed_point import fewest_bits

        return fewest_bits(self.network.tensors[tensor].double(), self._k)

    def _weight(self, tensor: str) -> tuple[str, str]:
        """Name and type of the integers of a weight."""
        values, bits = self.network.tensors[tensor].double(), self._bits_of(tensor)
        whole = np.rint(values.numpy() * 2.0**bits).astype(np.int64)
        if whole.ndim == 2:
            whole = whole.T  # in out: an event adds a row
        name = f"w_{tensor.removesuffix('.weight').replace('.', '_')}"
        kind = self._constant(name, whole)
        self.types[tensor], self.scales[tensor] = kind.removesuffix("_t"), f"2^-{bits}"
        return name, kind

    def _constant(self, name: str, values: NDArray[np.int64]) -> str:
        kind, size = next(
            (kind, size)
            for kind, size in (("int8_t", 1), ("int16_t", 2), ("int32_t", 4))
            if np.abs(values).max(initial=0) < 2 ** (8 * size - 1)
        )
        self.weight_bytes += size * values.size
        self.constants.append((kind, name, values))
        return kind

    def _array(self, kind: str, name: str, size: int) -> None:
        """Memory that changes: so many numbers, or without a size one."""
        self.static_bytes += max(1, size) * (1 if kind == "uint8_t" else 4)
        self.arrays.append(f"static {kind} {name}{f'[{size}]' if size else ''};")


def _divided(layer: Layer) -> str:
    """The multiplication by λ = 2^−n, which leaves no rest."""
    return "" if layer.decay == 1.0 else f" / {round(1 / layer.decay)}"


_SHORT = {"uint8_t": "u8", "int8_t": "i8", "int16_t": "i16", "int32_t": "i32"}
