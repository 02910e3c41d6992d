"""A network of LIF neurons with soft reset, run from `lif.safetensors` alone.

    u[t] = λ (u[t−1] − V s[t−1]) + W s_in[t] + b        s[t] = H(u[t] − V)

The output of a relay is W s_in[t] + b. The scores after T time steps depend on the readout that the
network was trained with. `mean`: Σ_t (W s[t] + b). `last`: W s[T] + b. `max`: of each class the
largest W s[t] + b. `weighted`: r[T] / c[T] with
r[t] = λ r[t−1] + W s[t] + b and c[T] = Σ_{k<T} λ^k, which is W applied to the weighted firing rate,
plus b.

On a grid (`LIFDescription.grid`) the pixels are looked up in a table, and the current that they
bring is rounded once: every other operation is exact in float32, see `docs/proof.md`.

Shapes: `N` samples, `T` steps, `C H W` one image or frame, `K` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from math import prod
from pathlib import Path
from typing import Self

import torch
from pydantic import ValidationError
from torch import Tensor

from saf import tensorfile
from saf.estimate.chunking import steps_at_once
from saf.kernels import winograd
from saf.kernels.precision import sums_of_products
from saf.lif.checks import check_description, check_input, check_lengths, check_weights
from saf.lif.grid.fixed_point import rounded
from saf.lif.header import LIFDescription
from saf.lif.normalisation import InputNormalisation
from saf.lif.sequence import (
    LayerSteps,
    LIFChunk,
    LIFStep,
    OfInput,
    SequenceState,
    read_out,
    repeated,
    wires,
)
from saf.model.forward.delays import DelayLine
from saf.model.forward.delays import lines as empty_lines
from saf.model.layers import Layer, Wire, input_current, run_layers
from saf.model.operations import apply, channels_last
from saf.networks.architecture import INPUT, LayerDescription

LARGEST_SAMPLES_AT_ONCE = 2**24  # neurons × samples that `predict` holds at a time


class LIFNetwork(InputNormalisation):
    """A LIF network that computes class scores; `load_lif` reads one from a file.

    Its parameters, which are not trained, have the names of the tensors of the file. Its children
    are of class `Layer`, by name. A forward hook on one sees the outputs of the layer's sources and
    its own output: its spikes at the K time steps that are computed at once (K · N …). Recurrent
    state: pass it in, get the next one back.
    """

    def __init__(self, description: LIFDescription, tensors: Mapping[str, Tensor]) -> None:
        """Raises ValueError where `tensors` are not those that `description` asks for."""
        super().__init__()
        check_description(description, tensors)
        self.description = description
        check_weights(description, tensors)
        architecture = description.architecture
        shapes = architecture.shapes()
        neurons = {layer.name: description.neurons_of(layer.name) for layer in architecture.spiking}
        with torch.device("meta"):  # the weights are there already
            layers = [
                Layer(
                    layer,
                    shapes,
                    neurons.get(layer.name),
                    filters=(description.decay,),
                    plain=True,
                )
                for layer in (*architecture.layers, architecture.readout)
            ]
        for layer in layers:
            # Not by add_module: a file may name a layer as a method of this class is named.
            self._modules[layer.name] = layer
            for name, module in layer.named_modules():
                for parameter in list(module._parameters):
                    full = ".".join(part for part in (layer.name, name, parameter) if part)
                    kept = torch.nn.Parameter(tensors[full].detach(), requires_grad=False)
                    module.register_parameter(parameter, kept)
        self._set_normalisation()
        self.register_load_state_dict_post_hook(_check_loaded)  # type: ignore[no-untyped-call]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert the network, as `to` does. Raises ValueError, and changes nothing, for
        a type that cannot hold the weights."""
        changed = {
            name: after
            for name, before in self.tensors.items()
            if (after := fn(before)).dtype != before.dtype
        }
        check_weights(self.description, changed)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._set_normalisation()
        return self

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Weights and biases by their names in the file."""
        return {name: parameter.detach() for name, parameter in self.named_parameters()}

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers but the readout, relays included, in the order in which they are computed."""
        return tuple(map(self._layer, self.description.architecture.layers))

    @property
    def readout_layer(self) -> Layer:
        """The layer that gives the scores."""
        return self._layer(self.description.architecture.readout)

    def _layer(self, described: LayerDescription) -> Layer:
        layer = self._modules[described.name]
        assert isinstance(layer, Layer)
        return layer

    def __repr__(self) -> str:
        image = self.description.image
        of = self.description.sample_shape if image is None else image.shape
        shape = "×".join(map(str, of)) + ("" if image is None else f" {image.words}")
        weights = sum(tensor.numel() for tensor in self.tensors.values())
        grid = self.description.grid
        on_grid = "" if grid is None else f", multiples of 2^-{grid.bits}"
        return (
            f"LIFNetwork({shape} → {len(self.class_names)}, T = {self.timesteps}, "
            f"{weights:,} weights{on_grid})"
        )

    @property
    def timesteps(self) -> int:
        """T"""
        return self.description.timesteps

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class, in the order of the scores."""
        return self.description.class_names

    def copied(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """A copy on another device or in another floating-point type; `to` changes the network
        itself."""
        moved = {k: v.to(device=device, dtype=dtype, copy=True) for k, v in self.tensors.items()}
        return type(self)(self.description, moved)

    def save(self, path: Path) -> None:
        """Write the network to `path`, whole or not at all. Raises OSError."""
        tensorfile.write(path, self.tensors, self.description.model_dump(mode="json"))

    @torch.no_grad()
    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Class scores `N K` of images `N C H W` in [0, 1], also of those that are read as a
        sequence, of event frames `N T C H W`, or of series `N T C`; of padded ones, of which
        `lengths` (`N`) time steps are their own, those at their end.

        Layers are computed one after another, at as many time steps at once as make up a batch of
        128 samples; `run`, which computes one time step at a time, may round differently. Inside
        `saf.kernels.winograd.allowed()` large convolutions take half the time on a CPU and round
        more, but not those of a network on a grid. Inside `saf.kernels.native.allowed()`
        convolutions and neurons take still less time, by C++ that is compiled at the first call,
        where there is a compiler. Raises ValueError, which says what is expected, for any other
        input.
        """
        own = None if lengths is None else check_lengths(self.description, lengths, len(x))
        scores, done = None, 0
        for chunk in self._chunks(x, None, potentials=False):
            times = range(done + 1, (done := done + chunk.steps) + 1)
            scores = chunk.scores[-1] if own is None else own.held(scores, chunk.scores, times)
        assert scores is not None
        return scores

    @torch.no_grad()
    def chunks(self, x: Tensor, at_once: int | None = None) -> Iterator[LIFChunk]:
        """The T time steps on `x` as a call computes them, several at once but at most
        `at_once`. Raises ValueError at the first."""
        yield from self._chunks(x, at_once, potentials=True)

    def _chunks(self, x: Tensor, at_once: int | None, *, potentials: bool) -> Iterator[LIFChunk]:
        x = check_input(self.description, x, sequence=self.description.frames)
        architecture = self.description.architecture
        at_once = min(at_once or self.timesteps, steps_at_once(len(x), self.timesteps))
        if architecture.has_feedback:
            at_once = 1
        static = None if self._changes else self._of_input(self._arriving_image(x))
        state, arrived = self._rest(len(x)), None
        while state.steps < self.timesteps:
            steps = min(at_once, self.timesteps - state.steps)
            if static is None:
                arrived, state = self._arriving(self._shown(x, state.steps, steps), state)
                of_input = self._of_input(arrived, state.sent, steps)
            else:
                of_input = repeated(static, steps)
            state, chunk = self._advance(of_input, state, steps, arrived, potentials=potentials)
            yield chunk

    @torch.no_grad()
    def predict(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Index of the class with the highest score, `N`, for any number of samples at a time;
        `lengths` as for a call."""
        x = check_input(self.description, x, sequence=self.description.frames)
        per_sample = self.description.architecture.neurons + prod(x.shape[1:])
        parts = torch.arange(len(x)).split(max(1, LARGEST_SAMPLES_AT_ONCE // per_sample))
        own = None if lengths is None else check_lengths(self.description, lengths, len(x)).steps
        found = [self(x[part], None if own is None else own[part]) for part in parts]
        return torch.cat([scores.argmax(1) for scores in found])

    @torch.no_grad()
    def run(self, x: Tensor) -> Iterator[LIFStep]:
        """The T time steps on `x` (as for a call), one at a time. Raises ValueError at the
        first."""
        x = check_input(self.description, x, sequence=self.description.frames)
        names = [layer.name for layer in self.description.architecture.spiking]
        static = None if self._changes else self._of_input(self._arriving_image(x))
        state, arrived = self._rest(len(x)), None
        for t in range(self.timesteps):
            if static is None:
                arrived, state = self._arriving(self._shown(x, t, 1), state)
                of_input = self._of_input(arrived, state.sent)
            else:
                of_input = static
            state, chunk = self._advance(of_input, state, 1, arrived)
            yield LIFStep(
                potentials={name: n.u for name, n in zip(names, state.neurons, strict=True)},
                spikes={name: n.s for name, n in zip(names, state.neurons, strict=True)},
                scores=chunk.scores[-1],
            )

    @torch.no_grad()
    def step(self, x_t: Tensor, state: SequenceState | None = None) -> tuple[Tensor, SequenceState]:
        """Compute one time step on `x_t`, `N C H W` (of series `N C`): the scores `N K` after it,
        and the next state.

        `None` starts a sequence. Raises ValueError for an input that does not fit.
        """
        x_t = check_input(self.description, x_t, sequence=False)
        if state is not None and len(state.readout) != len(x_t):
            raise ValueError(
                f"the state is of {len(state.readout)} samples and the input of {len(x_t)}"
            )
        state = self._rest(len(x_t)) if state is None else state
        arrived, state = self._arriving(x_t[None], state)
        state, chunk = self._advance(self._of_input(arrived, state.sent), state, 1, arrived)
        return chunk.scores[-1], state

    def _advance(
        self,
        of_input: OfInput,
        state: SequenceState,
        steps: int,
        arrived: Tensor | None,
        *,
        potentials: bool = False,
    ) -> tuple[SequenceState, LIFChunk]:
        """Compute `steps` time steps. `of_input` gives the current of the input to a layer,
        steps · N …, or the bias alone, 1 C 1 1 (1 F), of a layer that does not read the input;
        `arrived` is the normalised input of these steps, unless it is an image."""

        def current(layer: Layer, inputs: Mapping[str, Tensor], start: Tensor | None) -> Tensor:
            return self.current(layer, inputs, start, state.sent, steps)

        step = LayerSteps(self.layers, current, of_input, state, record=potentials and steps > 1)
        # Feedback reads the spikes of the time step before until its source is computed.
        sent = {name: neuron.s for name, neuron in step.neurons.items()}
        last = self.readout_layer
        keep = {*sent, *state.sent, *(c.source for c in last.description.connections)}
        for layer, signal in run_layers(self.layers, sent, step, keep=keep):
            if layer.neuron is not None:
                step.note(layer.name, signal)
        outputs = last({name: sent[name] for name in keep if name in sent}, step)
        readout, scores = read_out(self.description.readout, last, outputs.chunk(steps), state)
        recorded: dict[str, Tensor] = {}
        if potentials:
            recorded = step.recorded or {name: own.u for name, own in step.neurons.items()}
        chunk = LIFChunk(
            steps=steps,
            potentials=recorded,
            spikes={name: sent[name] for name in step.neurons},
            scores=torch.stack(scores),
        )
        late = {name: sent[name] for name in state.sent if name != INPUT}
        if arrived is not None:
            late[INPUT] = arrived
        lines = {name: line.after(late[name], steps) for name, line in state.sent.items()}
        neurons = step.neurons.values()
        steps += state.steps
        return SequenceState(steps, tuple(neurons), readout, lines, state.encoding), chunk

    def _rest(self, samples: int) -> SequenceState:
        def zeros(layer: Layer) -> Tensor:
            return channels_last(
                torch.zeros(samples, *layer.shape, dtype=self.dtype, device=self.device)
            )

        return SequenceState(
            steps=0,
            neurons=tuple(
                layer.neuron.init_state(zeros(layer))
                for layer in self.layers
                if layer.neuron is not None
            ),
            readout=zeros(self.readout_layer),
            sent=empty_lines(self.description.architecture.delays),
        )

    def currents_of_input(
        self, x: Tensor, sent: Mapping[str, DelayLine] | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Current of `x` (`N C H W`) and bias of each layer, by name: N …, or 1 C 1 1 (1 F) where
        it does not read the input; and the input as they get it. `sent` is what came before, for
        connections with delays."""
        arrived = self._arriving_image(x)
        of_input = self._of_input(arrived, sent)
        layers = (*self.layers, self.readout_layer)
        return {layer.name: of_input(layer) for layer in layers}, arrived

    def _of_input(
        self, normalised: Tensor, sent: Mapping[str, DelayLine] | None = None, steps: int = 1
    ) -> OfInput:
        """`currents_of_input` of the input at `steps` time steps, each computed when it is read for
        the first time, so that hooks see the maps of the input inside their layer."""
        grid = self.description.grid
        found: dict[str, Tensor] = {}

        def of_input(layer: Layer) -> Tensor:
            if layer.name not in found:
                inputs, bias = {INPUT: normalised}, layer.shaped_bias()[None]
                current = self.current(layer, inputs, bias, sent, steps)
                found[layer.name] = current if grid is None else rounded(current, grid.bits)
            return found[layer.name]

        return of_input

    def current(
        self,
        layer: Layer,
        inputs: Mapping[str, Tensor],
        start: Tensor | None,
        sent: Mapping[str, DelayLine] | None = None,
        steps: int = 1,
    ) -> Tensor:
        """Sum of `start`, if any, and of the currents of connections from `inputs`, steps · N …;
        `sent` is what came before, for connections with delays."""

        def carry(wire: Wire, x: Tensor) -> Tensor:
            if wire.delay:
                line = (sent or {}).get(wire.source, DelayLine(wire.delay))
                x = line.read(wire.delay, x, steps)
            with self._sums_of_products():
                return apply(wire.operations, wire.weights, x, maps=wire.maps)

        current = input_current(wires(layer), inputs, start, carry)
        assert current is not None
        return current

    def _sums_of_products(self) -> AbstractContextManager[object]:
        """Context manager: on a grid, exclude algorithms that do not add up products, since
        intermediate results of Winograd and FFT are not on the grid."""
        if self.description.grid is None:
            return nullcontext()
        if self.device.type != "cuda":
            return winograd.allowed(False)
        return sums_of_products()


def _check_loaded(network: torch.nn.Module, _keys: object) -> None:
    assert isinstance(network, LIFNetwork)
    check_weights(network.description, network.tensors)


def load_lif(path: Path | str) -> LIFNetwork:
    """Read the network in `path`, a `lif.safetensors`, to the CPU; `.to(device)` moves it.

    Raises FileNotFoundError when there is no such file, and ValueError, which says what is wrong,
    when it is damaged, of another origin or of a later version.
    """
    path = Path(path)
    tensors, metadata = tensorfile.read(path)
    try:
        description = LIFDescription.model_validate(metadata)
    except ValidationError as error:
        problems = tensorfile.in_short(error)
        raise ValueError(
            f"{path.name} is no LIF network that this version reads: {problems}"
        ) from error
    return LIFNetwork(description, tensors)
