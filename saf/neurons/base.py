"""The protocol of a neuron model: what the rest of the library asks of the neurons of a layer.

A model has two forms, which give the same spikes while the weights stay. The *recursive* form takes
the input current of one time step and a state; it is what a chip runs, and OTTT and BPTT train it.
The *accumulated* form takes the accumulations of its sources, K time steps at once; SAF trains it.
`saf.neurons.models` has the settings of each model, which make its neurons.

Shapes: `K` time steps, `B` samples, `…` the shape of the layer; K · B is time steps and samples
merged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from saf.config import Neuron as NeuronSettings
from saf.errors import UserConfigError
from saf.kernels.saf_scan import Constant, Gate
from saf.neurons.dynamics import accumulated_one, heaviside

Filters = tuple[float, ...]
"""Decays of leaky accumulations, one after the other, by which a layer accumulates its input:
(λ,) is A[t] = λ A[t−1] + s[t]; (α, λ) is B[t] = α B[t−1] + s[t], A[t] = λ A[t−1] + B[t]."""
Fire = Callable[[Tensor], Tensor]
"""Spikes at x = u − V: the Heaviside step, or one with a surrogate gradient."""


class State(Protocol):
    """State of the recursive form after a time step: a NamedTuple of tensors, B …."""

    @property
    def u(self) -> Tensor:
        """Membrane potential before the reset."""

    @property
    def s(self) -> Tensor:
        """Spikes."""

    def detached(self) -> State:
        """The same state, detached from its graph."""

    def with_spikes(self, s: Tensor) -> State:
        """The same state with `s` in place of its spikes."""


class Accumulated(NamedTuple):
    """Result of K time steps of the accumulated form."""

    accumulation: Tensor
    """K · B …: the layer's own spikes, accumulated with `Neuron.decay`: â[t] = λ â[t−1] + s[t]."""
    fired: Tensor
    """Scalar: number of spikes."""
    potentials: Tensor | None = None
    """K · B …: u[t] before the reset, if recorded."""
    carried: tuple[Tensor, ...] = ()
    """K · B … each: further state of the model after each time step."""


class Neuron(torch.nn.Module, ABC):
    """The neurons of one layer. Their constants are buffers or, where they are learned, parameters.

    The module keeps no recurrent state: pass the state in, get the next one back.
    """

    @property
    @abstractmethod
    def decay(self) -> float:
        """λ: the decay of the accumulation â of the layer's own spikes."""

    @property
    @abstractmethod
    def threshold(self) -> float:
        """V: the unit in which potentials are shown."""

    @property
    def filters(self) -> Filters:
        """Decays by which the layer accumulates its input current, one after the other."""
        return (self.decay,)

    def accumulated_one(self, t: int) -> float:
        """Accumulation of a constant current of 1 after t time steps: c[t] = Σ_{k<t} λ^k."""
        return accumulated_one(t, self.decay)

    # The recursive form.

    @abstractmethod
    def init_state(self, zeros: Tensor) -> State:
        """State before the first time step of a sequence; `zeros` is B …."""

    @abstractmethod
    def step(self, current: Tensor, state: Any, *, fire: Fire = heaviside) -> tuple[Tensor, State]:
        """Compute one time step of `current` (B …): the spikes and the next state. `fire`
        replaces the Heaviside step where a gradient is needed. The reset is detached."""

    def steps(
        self,
        current: Tensor,
        state: Any,
        *,
        bias: Tensor | None = None,
        potentials: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Compute K time steps without a gradient; `current` (K · B …) may be overwritten.

        `bias`, 1 C 1 1 or 1 F, is added to every current; u before the reset is written to
        `potentials`, which is laid out like `current`. Returns the spikes, K · B …, and the state
        after the last time step. Models with a kernel of their own override this loop over `step`.
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
        """Compute K time steps of spike accumulation.

        `current` (K · B …) is the accumulation of the input current, by `filters`; it may be
        overwritten, and is None where all input is `constant`. `constant` is the same at every time
        step but for a factor. `before` is â and `carried` the further state before the first time
        step (None and empty at the beginning of a sequence). `gate` is ∂â/∂Û; without it no
        gradient is recorded. The past is detached. `potentials` asks for u as well, which has no
        gradient.
        """

    def accumulated_step(
        self, current: Tensor, state: Any, accumulation: Tensor, *, fire: Fire = heaviside
    ) -> tuple[Tensor, State]:
        """Compute one time step of the accumulated form where the weights change after each:
        `current` (B …) is that of this time step, `accumulation` is â[t−1], and `state.u` holds
        Û[t−1]. Raises UserConfigError for a model that does not have it."""
        raise UserConfigError(
            f"{self.fold().name} neurons cannot be trained by SAF with an update after each time "
            "step",
            hint="Set method.update to sequence, or choose ottt-o.",
        )

    # Gradients.

    @abstractmethod
    def derivative(self, x: Tensor) -> Tensor:
        """Surrogate derivative σ' at x = u − V."""

    @abstractmethod
    def surrogate_gate(self) -> Gate:
        """Surrogate gradient ∂â/∂Û = σ'(u − V), for SAF-E, SAF-F and OTTT."""

    def rate_gate(self, timesteps: int) -> Gate:
        """Gradient ∂â/∂Û of the clamped firing rate after `timesteps` time steps, for the Spike
        Representation. Raises UserConfigError for a model that does not have it."""
        raise UserConfigError(
            f"{self.fold().name} neurons have no gradient of rates for the Spike Representation",
            hint="Choose saf-f, which has its loss at the final time step as well.",
        )

    # Deployment.

    @abstractmethod
    def fold(self) -> NeuronSettings:
        """Settings with the constants of these neurons, learned ones included, for deployment:
        `fold().neurons(shape)` gives the same spikes."""
