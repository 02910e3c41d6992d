"""What a neuron model is: all that the rest of the library asks of the neurons of a layer.

A model has two forms that fire alike while the weights stay. The *recursive* form takes the current
of a step and its state, as it runs on a chip; OTTT and BPTT train it. The *accumulated* form takes
what its sources have accumulated, K steps at once; SAF trains it. A new model is one file beside
`saf.neurons.lif`: a subclass of `Neuron`.

Shapes: `K` steps, `B` samples, `…` the shape of the layer; K · B is steps and samples merged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from saf.kernels.saf_scan import Constant, Gate
from saf.neurons.dynamics import accumulated_one, heaviside

Filters = tuple[float, ...]
"""Decays of the leaky accumulations, one after the other, through which a layer receives spikes:
(λ,) is A[t] = λ A[t−1] + s[t]; (α, λ) is B[t] = α B[t−1] + s[t], A[t] = λ A[t−1] + B[t]."""
Fire = Callable[[Tensor], Tensor]
"""Spikes at x = u − V: the Heaviside step, or one through which a surrogate gradient passes."""


class State(Protocol):
    """The recursive form after a step: a NamedTuple of tensors, B …."""

    @property
    def u(self) -> Tensor:
        """Membrane potential before the reset."""

    @property
    def s(self) -> Tensor:
        """Spikes."""

    def detached(self) -> State:
        """The same numbers without their graph."""

    def with_spikes(self, s: Tensor) -> State:
        """The same state where the neurons sent `s`."""


class Accumulated(NamedTuple):
    """What K steps of the accumulated form gave."""

    accumulation: Tensor
    """K · B …: the layer's own spikes, accumulated with `Neuron.decay`: â[t] = λ â[t−1] + s[t]."""
    fired: Tensor
    """Scalar: how many spikes there were."""
    potentials: Tensor | None = None
    """K · B …: u[t] before the reset, where it was asked for."""
    carried: tuple[Tensor, ...] = ()
    """K · B … each: what else the model has to know of a step in the next one."""


class Neuron(torch.nn.Module, ABC):
    """The neurons of one layer: constants, or parameters where they are learned.

    A module without state: the state of a sequence is passed in and returned.
    """

    @property
    @abstractmethod
    def decay(self) -> float:
        """λ: with it the layer accumulates its own spikes, for its reset and for who listens."""

    @property
    @abstractmethod
    def threshold(self) -> float:
        """V: potentials are shown as multiples of it."""

    @property
    def filters(self) -> Filters:
        """How the layer accumulates what it receives."""
        return (self.decay,)

    def accumulated_one(self, t: int) -> float:
        """What a constant current of 1 has accumulated to after t steps: c[t] = Σ_{k<t} λ^k."""
        return accumulated_one(t, self.decay)

    # The recursive form.

    @abstractmethod
    def init_state(self, zeros: Tensor) -> State:
        """The state before the first step of a sequence; `zeros` is B …."""

    @abstractmethod
    def step(self, current: Tensor, state: Any, *, fire: Fire = heaviside) -> tuple[Tensor, State]:
        """One step on `current`, B …: the spikes, and the state after it. `fire` stands in for the
        Heaviside step where a gradient must pass. The reset is a constant in a graph."""

    def steps(
        self,
        current: Tensor,
        state: Any,
        *,
        bias: Tensor | None = None,
        potentials: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """K steps without a gradient, K · B …, which `current` may be overwritten for.

        `bias`, 1 C 1 1 or 1 F, is added to every current; `potentials`, memory like that of
        `current`, gets u before the reset. Returns the spikes, K · B …, and the state after the
        last step. Models with a kernel of their own override this loop over `step`.
        """
        sent = []
        for k, now in enumerate(torch.split(current, len(state.u))):
            s, state = self.step(now if bias is None else now + bias, state)
            sent.append(s)
            if potentials is not None:
                potentials[k * len(s) : (k + 1) * len(s)] = state.u
        return (sent[0] if len(sent) == 1 else torch.cat(sent)), state

    # The accumulated form.

    @abstractmethod
    def accumulate(
        self,
        current: Tensor | None,
        constant: Constant,
        before: Tensor | None,
        gate: Gate | None = None,
        *,
        carried: tuple[Tensor, ...] = (),
        potentials: bool = False,
    ) -> Accumulated:
        """K steps of spike accumulation.

        `current`, K · B …, is what the sources have accumulated through `filters` and the weights
        (None: nothing arrives beside `constant`); it may be overwritten. `constant` arrives at
        every step, with its weight. `before` is â, and `carried` what else was carried, before
        the first step (None and empty: at the beginning of a sequence). `gate` is ∂â/∂Û; without it
        no gradient passes. The past is constant. `potentials` asks for u, in a recording without a
        gradient.
        """

    @abstractmethod
    def accumulated_step(
        self, current: Tensor, state: Any, accumulation: Tensor, *, fire: Fire = heaviside
    ) -> tuple[Tensor, State]:
        """One step of the accumulated form where the weights change after each step, on the
        `current` of the step, B …; `accumulation` is â[t−1] and `state.u` holds Û[t−1]."""

    # What passes of a gradient.

    @abstractmethod
    def derivative(self, x: Tensor) -> Tensor:
        """The surrogate derivative σ' at x = u − V."""

    @abstractmethod
    def surrogate_gate(self) -> Gate:
        """∂â/∂Û = σ'(u − V): the gate of SAF-E, SAF-F and OTTT."""

    @abstractmethod
    def rate_gate(self, timesteps: int) -> Gate:
        """∂â/∂Û of the clamped rate after `timesteps` steps: the gate of the Spike
        Representation."""

    # Deployment.

    @abstractmethod
    def fold(self) -> Folded:
        """The constants of the recursive form, as they are deployed."""


class Folded(Protocol):
    """A neuron model with its constants, without torch: equal constants are equal."""

    def neuron(self) -> Neuron:
        """The model with these constants."""
