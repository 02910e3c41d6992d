"""A network of LIF neurons with soft reset, run from `lif.safetensors` alone.

    u[t] = λ (u[t−1] − V s[t−1]) + W s_in[t] + b        s[t] = H(u[t] − V)

A relay sends W s_in[t] + b as it is. Readout of T steps, in the way that the network was trained:
`sum`: Σ_t (W s[t] + b); `final`: r[t] = λ r[t−1] + W s[t] + b divided by c[T] = Σ_{k<T} λ^k, that
is W applied to the weighted firing rate, plus b.

On a grid (`LIFDescription.grid`) the pixels are looked up in a table, and the current that they
bring is rounded once: every other operation is exact in float32, see `docs/proof.md`.

Shapes: `N` samples, `T` steps, `C H W` one image or frame, `K` classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor

from saf import tensorfile
from saf.estimate.chunking import steps_at_once
from saf.kernels import winograd
from saf.kernels.lif_scan import lif_scan
from saf.kernels.precision import sums_of_products
from saf.lif.fixed_point import is_on_grid, look_up, pixel_values, rounded
from saf.lif.header import LIFDescription, weight_names, weighted
from saf.model import operations
from saf.networks.architecture import INPUT, Population
from saf.neurons.dynamics import LIFState, accumulated_one

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
LARGEST_SAMPLES_AT_ONCE = 2**24  # neurons × samples that `predict` holds at a time


class SequenceState(NamedTuple):
    """A LIF network after some steps: passed in and returned, kept by nobody."""

    steps: int
    neurons: tuple[LIFState, ...]  # u and s per spiking population: N, then its shape
    readout: Tensor  # N K, the sum or the decaying sum


class LIFStep(NamedTuple):
    """One time step of a run, for those who look inside."""

    potentials: dict[str, Tensor]  # u before the reset, per spiking population: N, then its shape
    spikes: dict[str, Tensor]  # s, likewise
    scores: Tensor  # N K, after this step


class LIFChunk(NamedTuple):
    """K time steps of a run at once, for those who look inside."""

    steps: int  # K
    potentials: dict[str, Tensor]  # u before the reset, per spiking population: K · N, its shape
    spikes: dict[str, Tensor]  # s, likewise
    scores: Tensor  # K N classes, after each of the steps


class LIFNetwork:
    """A LIF network that computes class scores; `load_lif` reads one from a file.

    Immutable: `to` returns another one, and the state of a sequence is the caller's.
    """

    def __init__(self, description: LIFDescription, tensors: Mapping[str, Tensor]) -> None:
        """Raises ValueError where `tensors` are not those that `description` asks for."""
        expected = description.tensor_shapes()
        if expected.keys() != tensors.keys():
            odd = sorted(expected.keys() ^ tensors.keys())
            raise ValueError(
                f"the weights are not those of the architecture: {odd[:5]!a} ({len(odd)} in all)"
            )
        for name, tensor in tensors.items():
            if tuple(tensor.shape) != expected[name]:
                raise ValueError(
                    f"{name} has the shape {tuple(tensor.shape)} instead of {expected[name]}"
                )
            if tensor.dtype not in DTYPES:
                raise ValueError(f"{name} is {tensor.dtype}; weights are one of {_named(DTYPES)}")
            if not tensor.isfinite().all():
                raise ValueError(f"{name} holds values that are no finite numbers")
        if len({tensor.dtype for tensor in tensors.values()}) != 1:
            raise ValueError("the weights are of several data types")
        if description.grid is not None:
            for name, tensor in tensors.items():
                if not is_on_grid(tensor, description.grid.bits):
                    raise ValueError(
                        f"{name} is not on the grid of 2^-{description.grid.bits} that the "
                        "network is said to be on"
                    )
        channels = description.architecture.input_shape[0]
        if not len(description.mean) == len(description.std) == channels:
            raise ValueError(f"mean and std are needed for each of {channels} channels")
        if len(description.class_names) != description.architecture.classes:
            raise ValueError(
                f"there are {len(description.class_names)} names for "
                f"{description.architecture.classes} classes"
            )
        self.description = description
        self.tensors = dict(tensors)
        anyone = next(iter(tensors.values()))
        self.dtype, self.device = anyone.dtype, anyone.device
        per_channel = (channels, *(1,) * (len(description.architecture.input_shape) - 1))
        self._mean = torch.tensor(description.mean).to(anyone).view(per_channel)
        self._std = torch.tensor(description.std).to(anyone).view(per_channel)
        self._pixel_values: Tensor | None = None
        if description.grid is not None:
            self._pixel_values = pixel_values(
                description.mean, description.std, description.grid.input_bits
            ).to(anyone)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.description.architecture.input_shape))
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

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LIFNetwork:
        """The same network on another device or in another floating-point type."""
        moved = {k: v.to(device=device, dtype=dtype) for k, v in self.tensors.items()}
        return LIFNetwork(self.description, moved)

    def save(self, path: Path) -> None:
        """Write the network to `path`, whole or not at all. Raises OSError."""
        tensorfile.write(path, self.tensors, self.description.model_dump(mode="json"))

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Class scores `N K` of images `N C H W` in [0, 1], or of event frames `N T C H W`.

        Layer by layer, with as many steps at once as make up a batch of 128 samples; a step at a
        time, as `run` goes, may round differently. Inside `saf.kernels.winograd.allowed()` large
        convolutions take half the time on a CPU and round more, but not those of a network on a
        grid; inside `saf.kernels.native.allowed()` they and the neurons take still less, by C++
        that is compiled on the first call, where there is a compiler.
        Raises ValueError, saying what is expected, for any other input.
        """
        scores = None
        for chunk in self._chunks(x, None, potentials=False):
            scores = chunk.scores[-1]
        assert scores is not None
        return scores

    @torch.no_grad()
    def chunks(self, x: Tensor, at_once: int | None = None) -> Iterator[LIFChunk]:
        """The T steps on `x` as a call computes them, several at once, and at most `at_once`.
        Raises ValueError at the first."""
        yield from self._chunks(x, at_once, potentials=True)

    def _chunks(self, x: Tensor, at_once: int | None, *, potentials: bool) -> Iterator[LIFChunk]:
        self._check(x, sequence=self.description.frames)
        architecture = self.description.architecture
        at_once = min(at_once or self.timesteps, steps_at_once(len(x), self.timesteps))
        if architecture.has_feedback:
            at_once = 1
        static = None if self.description.frames else self.currents_of_input(x)
        state = self._rest(len(x))
        while state.steps < self.timesteps:
            steps = min(at_once, self.timesteps - state.steps)
            if static is None:
                frames = x[:, state.steps : state.steps + steps].transpose(0, 1)
                currents = self.currents_of_input(frames.flatten(0, 1))
            else:
                currents = {
                    p.name: repeated(static[p.name], steps) if p.hears_input else static[p.name]
                    for p in (*architecture.populations, architecture.readout)
                }
            state, chunk = self._advance(currents, state, steps, potentials=potentials)
            yield chunk

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Number of the class with the highest score, `N`; any number of samples at a time."""
        self._check(x, sequence=self.description.frames)
        per_sample = self.description.architecture.neurons + prod(x.shape[1:])
        chunks = torch.split(x, max(1, LARGEST_SAMPLES_AT_ONCE // per_sample))
        return torch.cat([self(chunk).argmax(1) for chunk in chunks])

    @torch.no_grad()
    def run(self, x: Tensor) -> Iterator[LIFStep]:
        """The T steps on `x` (as for a call), one at a time. Raises ValueError at the first."""
        self._check(x, sequence=self.description.frames)
        names = [population.name for population in self.description.architecture.spiking]
        static = None if self.description.frames else self.currents_of_input(x)
        state = self._rest(len(x))
        for t in range(self.timesteps):
            currents = self.currents_of_input(x[:, t]) if static is None else static
            state, chunk = self._advance(currents, state, 1)
            yield LIFStep(
                potentials={name: n.u for name, n in zip(names, state.neurons, strict=True)},
                spikes={name: n.s for name, n in zip(names, state.neurons, strict=True)},
                scores=chunk.scores[-1],
            )

    @torch.no_grad()
    def step(self, x_t: Tensor, state: SequenceState | None = None) -> tuple[Tensor, SequenceState]:
        """One step on `x_t`, `N C H W`: the scores `N K` after it, and the state to pass on.

        `None` starts a sequence. Raises ValueError for an input that does not fit.
        """
        self._check(x_t, sequence=False)
        if state is not None and len(state.readout) != len(x_t):
            raise ValueError(
                f"the state is of {len(state.readout)} samples and the input of {len(x_t)}"
            )
        state = self._rest(len(x_t)) if state is None else state
        state, chunk = self._advance(self.currents_of_input(x_t), state, 1)
        return chunk.scores[-1], state

    def _advance(
        self,
        of_input: Mapping[str, Tensor],
        state: SequenceState,
        steps: int,
        *,
        potentials: bool = False,
    ) -> tuple[SequenceState, LIFChunk]:
        """`steps` steps, given what the input brings to every population, one step after the
        other, steps · N …, or the bias alone, 1 C 1 1 (1 F), of one that does not hear it."""
        architecture, decay = self.description.architecture, self.description.decay
        # Who has not fired in this step yet is heard, as feedback, with the spikes of the last.
        sent = {p.name: n.s for p, n in zip(architecture.spiking, state.neurons, strict=True)}
        left, neurons = iter(state.neurons), []
        recorded: dict[str, Tensor] = {}
        for population in architecture.populations:
            start, bias = of_input[population.name], None
            if _maps_one_source(population):
                bias = start  # the scan adds it, which saves a pass over the memory
            current = self.current(population, sent, start if bias is None else None)
            if population.relay:
                sent[population.name] = current
                continue
            if current is start:
                current = current.clone()  # others look at it again
            kept = torch.empty_like(current) if potentials and steps > 1 else None
            spikes, after = lif_scan(
                current,
                next(left),
                decay,
                self.description.threshold,
                bias=bias,
                potentials=kept,
            )
            neurons.append(after)
            sent[population.name] = spikes
            if potentials:
                recorded[population.name] = after.u if kept is None else kept
        name, readout, scores = architecture.readout.name, state.readout, []
        arriving = self.current(architecture.readout, sent, of_input[name])
        for k, of_step in enumerate(arriving.chunk(steps), 1):
            if self.description.readout == "final":
                readout = decay * readout + of_step
                scores.append(readout / accumulated_one(state.steps + k, decay))
            else:
                readout = readout + of_step
                scores.append(readout)
        chunk = LIFChunk(
            steps=steps,
            potentials=recorded,
            spikes={population.name: sent[population.name] for population in architecture.spiking},
            scores=torch.stack(scores),
        )
        return SequenceState(state.steps + steps, tuple(neurons), readout), chunk

    def _rest(self, samples: int) -> SequenceState:
        shapes = self.description.architecture.shapes()

        def zeros(name: str) -> Tensor:
            return operations.channels_last(
                torch.zeros(samples, *shapes[name], dtype=self.dtype, device=self.device)
            )

        return SequenceState(
            steps=0,
            neurons=tuple(
                LIFState(u=zeros(population.name), s=zeros(population.name))
                for population in self.description.architecture.spiking
            ),
            readout=zeros(self.description.architecture.readout.name),
        )

    def currents_of_input(self, x: Tensor) -> dict[str, Tensor]:
        """What every population gets from `x` (`N C H W`) and its bias, by name: N …, or 1 C 1 1
        (1 F) where it does not hear the input."""
        architecture, grid = self.description.architecture, self.description.grid
        normalised = operations.channels_last(self._normalise(x.to(self.device)))
        currents = {}
        for population in (*architecture.populations, architecture.readout):
            bias = self.tensors[f"{population.name}.bias"]
            sides = len(architecture.shapes()[population.name]) - 1
            bias = bias.view(1, -1, *(1,) * sides)
            current = self.current(population, {INPUT: normalised}, bias)
            currents[population.name] = current if grid is None else rounded(current, grid.bits)
        return currents

    def _normalise(self, x: Tensor) -> Tensor:
        if self._pixel_values is not None:
            return look_up(x, self._pixel_values)
        return (x.to(self.dtype) - self._mean) / self._std

    def current(
        self, population: Population, sent: Mapping[str, Tensor], start: Tensor | None
    ) -> Tensor:
        """`start`, if any, and what arrives over those connections whose source is among `sent`."""
        weights = iter(weight_names(population))
        current = start
        for connection in population.connections:
            own = [self.tensors[next(weights)] for _ in weighted(connection)]
            if connection.source in sent:
                with self._sums_of_products():
                    arriving = operations.apply(connection.operations, own, sent[connection.source])
                current = arriving if current is None else current + arriving
        assert current is not None
        return current

    def _sums_of_products(self) -> AbstractContextManager[object]:
        """On a grid, keep from algorithms that do not add up products: Winograd and FFT leave
        the grid on their way."""
        if self.description.grid is None:
            return nullcontext()
        if self.device.type != "cuda":
            return winograd.allowed(False)
        return sums_of_products()

    def _check(self, x: Tensor, *, sequence: bool) -> None:
        shape = self.description.architecture.input_shape
        if sequence:
            shape = (self.timesteps, *shape)
        expected = f"N {' '.join(map(str, shape))}"
        if sequence:
            expected += f" (frames of T = {self.timesteps} steps)"
        if not isinstance(x, Tensor) or not x.is_floating_point():
            what = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(
                f"the network takes a tensor of floats of shape {expected}, not {what}; "
                "bytes become floats by x.float() / 255"
            )
        if x.dim() != len(shape) + 1 or tuple(x.shape[1:]) != shape or len(x) == 0:
            raise ValueError(f"the network takes samples of shape {expected}, not {list(x.shape)}")
        if not x.isfinite().all():
            raise ValueError("the input holds NaN or infinite values")
        bounded = not self.description.frames or self.description.grid is not None
        if bounded and (x.min() < 0 or x.max() > 1):
            raise ValueError(
                f"the network takes values from 0 to 1, and these go from {float(x.min()):g} to "
                f"{float(x.max()):g}; it does its normalisation itself"
            )


def _maps_one_source(population: Population) -> bool:
    """Whether nothing but a map with weights of one earlier population arrives beside the bias."""
    if population.relay or len(population.connections) != 1:
        return False
    (connection,) = population.connections
    return connection.source != INPUT and len(weighted(connection)) > 0


def _named(dtypes: Sequence[torch.dtype]) -> str:
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)


def repeated(current: Tensor, steps: int) -> Tensor:
    """`current`, N …, at each of `steps` steps: steps · N …, in its layout."""
    return current if steps == 1 else torch.cat([current] * steps)


def load_lif(path: Path | str) -> LIFNetwork:
    """The network in `path`, a `lif.safetensors`, on the CPU; `.to(device)` moves it.

    Raises FileNotFoundError when there is no such file, and ValueError, saying what is wrong,
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
