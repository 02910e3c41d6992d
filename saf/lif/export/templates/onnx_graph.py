"""The nodes of a LIF network in ONNX: one time step, or all of them.

A state is what one time step leaves to the next: of a layer `u_` potentials, `s_` spikes, `i_` the
current of a synapse and `p_` what raises the threshold; `d_` what a source has sent in the last
steps, the newest last, for connections with delays; `readout`; `ones`, what a constant 1 has
accumulated to; `encoding`, what the encoding remembers; `steps`, how many there have been.

Shapes: `N` samples, `T` steps, `K` classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saf.lif.export.templates.onnx_nodes import Nodes
from saf.networks.architecture import INPUT

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork
    from saf.model.layers import Layer

SCORES, EACH = "scores", "scores_after_each_step"
FIRED, NEXT = "s_", "_next"
Past = Mapping[str, list[str]]
"""What each source has sent in the time steps before, the newest last."""


class Graph(Nodes):
    """A model under construction; `sequence` or `step` makes it."""

    def __init__(self, network: LIFNetwork) -> None:
        super().__init__(network)
        self._encodes = network.description.encoding_of_input()

    def sequence(self, path: Path) -> None:
        """All T steps: x → scores; of data in time also the scores after each step, N T K."""
        of = self._network.description
        state: dict[str, str] = {}
        past: dict[str, list[str]] = {source: [] for source in of.architecture.delays}
        constant: dict[str, str] = {}
        each: list[str] = []
        for t in range(of.timesteps):
            if t == 0 or of.frames or self._encodes.over_time:
                x = "x"
                if of.frames:
                    x = self._add("Gather", ["x", self._constant(np.array(t))], axis=1)
                pixels = self._encoded(self._normalised(x), state, t)
                constant = self._of_input(pixels, past)
            sent = self._one_step(constant, state, past)
            for source, line in past.items():
                line.append(pixels if source == INPUT else sent[source])
            scores = self._read_out(sent[of.architecture.readout.name], state, t)
            each.append(scores)
        self._named(SCORES, each[-1])
        outputs = {SCORES: [len(of.class_names)]}
        if of.frames:
            axis = self._constant(np.array([1]))
            rows = [self._add("Unsqueeze", [scores, axis]) for scores in each]
            self._named(EACH, self._add("Concat", rows, axis=1))
            outputs[EACH] = [of.timesteps, len(of.class_names)]
        shape = [*([of.timesteps] if of.frames else []), *of.sample_shape]
        self._save(path, {"x": shape}, outputs)

    def step(self, path: Path) -> None:
        """One step: x and the state → scores and the next state. A state of zeros starts."""
        of = self._network.description
        shapes = self._states()
        state = {name: name for name in shapes}
        depths = of.architecture.delays
        past = {
            source: [
                self._add("Gather", [f"d_{source}", self._constant(np.array(place))], axis=1)
                for place in range(depth)
            ]
            for source, depth in depths.items()
        }
        pixels = self._encoded(self._normalised("x"), state, None)
        sent = self._one_step(self._of_input(pixels, past), state, past)
        scores = self._read_out(sent[of.architecture.readout.name], state, None)
        for source, line in past.items():
            now = [*line, pixels if source == INPUT else sent[source]][1:]
            axis = self._constant(np.array([1]))
            rows = [self._add("Unsqueeze", [each, axis]) for each in now]
            state[f"d_{source}"] = self._add("Concat", rows, axis=1)
        if "steps" in shapes:
            state["steps"] = self._add("Add", ["steps", self._scalar(1.0)])
        self._named(SCORES, scores)
        for name in shapes:
            self._named(name + NEXT, state[name])
        outputs = {name + NEXT: shape for name, shape in shapes.items()}
        x = list(of.sample_shape)
        self._save(path, {"x": x, **shapes}, {SCORES: [len(of.class_names)], **outputs})

    def _states(self) -> dict[str, list[int]]:
        """The shape of each state of a step, without that of the samples."""
        of, found = self._network.description, {}
        for layer in self._network.layers:
            if layer.neuron is None:
                continue
            model = self._neurons(layer.name)["name"]
            kinds = "us" + {"cuba": "i", "alif": "p"}.get(model, "")
            found |= {f"{kind}_{layer.name}": list(layer.shape) for kind in kinds}
        shapes = of.architecture.shapes()
        for source, depth in of.architecture.delays.items():
            found[f"d_{source}"] = [depth, *shapes[source]]
        if of.readout != "last":
            found["readout"] = [len(of.class_names)]
        if of.readout == "weighted":
            found["ones"] = []
        if self._encodes.name in ("delta", "latency"):
            found["encoding"] = list(of.sample_shape)
        if of.readout == "max" or self._encodes.over_time:
            found["steps"] = []
        return found

    # Time steps. `state` becomes what there is after the step.

    def _one_step(
        self, constant: Mapping[str, str], state: dict[str, str], past: Past
    ) -> dict[str, str]:
        """What each layer sends in a step, and the output of the readout."""
        heard = {
            layer.name: state[FIRED + layer.name]
            for layer in self._network.layers
            if FIRED + layer.name in state
        }
        for layer in self._network.layers:
            current = self._current(layer, heard, past, constant[layer.name])
            if layer.neuron is not None:
                current = self._fired(layer.name, current, state)
            heard[layer.name] = current
        last = self._network.readout_layer
        heard[last.name] = self._current(last, heard, past, constant[last.name])
        return heard

    def _neurons(self, layer: str) -> Mapping[str, Any]:
        of = self._network.description
        plain = {"name": "lif", "decay": of.decay, "threshold": of.threshold}
        return of.neurons.get(layer, plain)

    def _fired(self, layer: str, current: str, state: dict[str, str]) -> str:
        """The spikes of the neurons of a layer."""
        own = self._neurons(layer)
        u, s, i, p = (f"{kind}_{layer}" for kind in "usip")
        if own["name"] == "cuba":
            if i in state:
                kept = self._add("Mul", [state[i], self._scalar(own["synaptic_decay"])])
                current = self._add("Add", [kept, current])
            state[i] = current
        threshold = self._scalar(own["threshold"])
        if u in state:
            reset = self._add("Mul", [state[s], threshold])
            kept = self._add("Sub", [state[u], reset])
            kept = self._add("Mul", [kept, self._scalar(own["decay"])])
            current = self._add("Add", [kept, current])
        state[u] = current
        if own["name"] == "alif" and s in state:  # before there are spikes nothing is raised
            raised = state[s]
            if p in state:
                kept = self._add("Mul", [state[p], self._scalar(own["adaptation_decay"])])
                raised = self._add("Add", [kept, raised])
            state[p] = raised
            above = self._add("Sub", [current, threshold])
            raised = self._add("Mul", [raised, self._scalar(own["adaptation"])])
            current, threshold = self._add("Sub", [above, raised]), self._scalar(0.0)
        fires = self._add("GreaterOrEqual", [current, threshold])
        state[s] = self._add("Cast", [fires], to=self._onnx.TensorProto.FLOAT)
        return state[s]

    def _read_out(self, current: str, state: dict[str, str], t: int | None) -> str:
        """The scores after the time step t; None: after any."""
        of, total = self._network.description, state.get("readout")
        if of.readout == "last":
            return current
        if of.readout == "max":
            if total is not None:
                larger = self._add("Max", [total, current])
                current = larger if t is not None else self._at_first(current, larger)
            state["readout"] = current
            return current
        if total is not None:
            if of.readout == "weighted":
                total = self._add("Mul", [total, self._scalar(of.decay)])
            current = self._add("Add", [total, current])
        state["readout"] = current
        if of.readout != "weighted":
            return current
        if t is not None:
            return self._add("Div", [current, self._scalar(sum(of.decay**k for k in range(t + 1)))])
        ones = self._add("Mul", ["ones", self._scalar(of.decay)])
        state["ones"] = self._add("Add", [ones, self._scalar(1.0)])
        return self._add("Div", [current, self._per_sample(state["ones"], 1)])

    def _at_first(self, first: str, later: str) -> str:
        """`first` in the first of all time steps, else `later`; N K."""
        begins = self._add("Less", ["steps", self._scalar(0.5)])
        return self._add("Where", [self._per_sample(begins, 1), first, later])

    def _per_sample(self, each: str, axes: int) -> str:
        """Numbers N, with so many axes behind."""
        behind = self._constant(np.arange(1, axes + 1))
        return self._add("Unsqueeze", [each, behind])

    # The input.

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

    def _encoded(self, x: str, state: dict[str, str], t: int | None) -> str:
        """What the first layer gets of normalised values at the time step t; None: at any."""
        how = self._encodes.model_dump()
        match how["name"]:
            case "current":
                return x
            case "onoff":
                return self._both_signs(x)
            case "delta":
                x = self._add("Div", [x, self._scalar(how["step"])])
                whole = self._add("Floor", [self._add("Abs", [x])])
                levels = self._add("Mul", [self._add("Sign", [x]), whole])
                before = state.get("encoding") or self._scalar(0.0)
                state["encoding"] = levels
                return self._both_signs(self._add("Sub", [levels, before]))
        share = self._add("Div", [x, self._scalar(2 * how["deviations"])])
        share = self._add("Add", [share, self._scalar(0.5)])
        axes = len(self._network.description.sample_shape)
        if how["name"] == "rate":
            found = self._add("Greater", [share, self._limits(how["seed"], axes, t)])
            return self._add("Cast", [found], to=self._onnx.TensorProto.FLOAT)
        window = self._scalar(float(how["window"]))
        share = self._add("Clip", [share, self._scalar(0.0), self._scalar(1.0)])
        at = self._add("Sub", [self._scalar(1.0), share])
        at = self._add("Floor", [self._add("Mul", [at, window])])
        if t is not None:
            phase = self._scalar(float(t % how["window"]))
            at = at if t % how["window"] == 0 else state["encoding"]
        else:
            windows = self._add("Floor", [self._add("Div", ["steps", window])])
            phase = self._add("Sub", ["steps", self._add("Mul", [windows, window])])
            phase = self._per_sample(phase, axes)
            begins = self._add("Less", [phase, self._scalar(0.5)])
            at = self._add("Where", [begins, at, state["encoding"]])
        state["encoding"] = at
        found = self._add("Equal", [at, phase])
        return self._add("Cast", [found], to=self._onnx.TensorProto.FLOAT)

    def _both_signs(self, x: str) -> str:
        """What is above 0, and what is below, as channels of their own."""
        below = self._add("Relu", [self._add("Neg", [x])])
        return self._add("Concat", [self._add("Relu", [x]), below], axis=1)

    def _limits(self, seed: int, axes: int, t: int | None) -> str:
        """What the shares of the encoding `rate` are compared with, in float64 until the end."""
        from saf.encodings.rate import GOLDEN, PLASTIC, SEEDS

        shape = self._network.description.sample_shape
        places = PLASTIC * np.arange(prod(shape), dtype=np.float64).reshape(shape)
        if t is not None:
            limits = (GOLDEN * t + places + SEEDS * seed) % 1.0
            return self._constant(limits.astype(np.float32))
        kind = self._onnx.TensorProto
        steps = self._add("Cast", [self._per_sample("steps", axes)], to=kind.DOUBLE)
        total = self._add("Mul", [steps, self._constant(np.array(GOLDEN))])
        total = self._add("Add", [total, self._constant(places)])
        total = self._add("Add", [total, self._constant(np.array(SEEDS * seed))])
        rest = self._add("Sub", [total, self._add("Floor", [total])])
        return self._add("Cast", [rest], to=kind.FLOAT)

    def _of_input(self, pixels: str, past: Past) -> dict[str, str]:
        """What every layer gets from the input, and its bias."""
        of = self._network.description
        found = {}
        for layer in (*self._network.layers, self._network.readout_layer):
            bias = self._constant(layer.shaped_bias().detach().numpy()[None])
            current = self._current(layer, {INPUT: pixels}, past, bias)
            if of.grid is not None and layer.description.reads_input:
                up = self._add("Mul", [current, self._scalar(2.0**of.grid.bits)])
                up = self._add("Round", [up])
                current = self._add("Mul", [up, self._scalar(2.0**-of.grid.bits)])
            found[layer.name] = current
        return found

    # Connections.

    def _current(self, layer: Layer, heard: Mapping[str, str], past: Past, total: str) -> str:
        """`total` and what comes over the connections from the sources that are `heard`."""
        number = 0
        shapes = self._network.description.architecture.shapes()
        for connection in layer.description.connections:
            x = heard.get(connection.source)
            if x is not None and connection.delay:
                before = past[connection.source][-connection.delay :]
                late = len(before) == connection.delay
                x = before[0] if late else self._add("Mul", [x, self._scalar(0.0)])
            for operation, shape in connection.shapes(shapes[connection.source]):
                weight = ""
                if operation.kind in ("conv", "conv1d", "linear"):
                    weight = f"{layer.name}.{number}.weight"
                    number += 1
                x = None if x is None else self._operation(operation, shape, weight, x)
            if x is not None:
                total = self._add("Add", [total, x])
        return total
