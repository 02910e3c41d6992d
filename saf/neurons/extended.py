"""Leaky integrate-and-fire neurons with more state: a learned λ, a synaptic current, an adaptive
threshold.

Shapes: `K` time steps, `B` samples, `…` the shape of the layer. λ, V, u, s, â, Û, c[t] are those of
`saf.neurons.lif`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from saf.config import Neuron as NeuronSettings
from saf.config import Surrogate
from saf.config.neurons import accumulated
from saf.kernels.saf_scan import Constant, Gate, count_spikes, several
from saf.neurons.base import Accumulated, Filters, Fire, Neuron
from saf.neurons.dynamics import accumulated_one, heaviside
from saf.neurons.fire import derivative, fire
from saf.neurons.gates import surrogate_gate

LEAST_DECAY, MOST_DECAY = 1e-4, 1.0 - 1e-4  # of a learned λ


class ExtendedState(NamedTuple):
    """State of the recursive form after a time step, B … each; what a model lacks is None."""

    u: Tensor
    """Membrane potential before the reset."""
    s: Tensor
    """Spikes."""
    current: Tensor | None = None
    """I: the synaptic current."""
    adaptation: Tensor | None = None
    """p: the accumulation of the neuron's own spikes that raises its threshold."""
    sensitivity: Tensor | None = None
    """q = ∂u/∂λ, with past spikes constant."""

    def detached(self) -> ExtendedState:
        return ExtendedState(
            self.u.detach(),
            self.s.detach(),
            *map(_detached, (self.current, self.adaptation, self.sensitivity)),
        )

    def with_spikes(self, s: Tensor) -> ExtendedState:
        return self._replace(s=s)


class ExtendedLIF(Neuron):
    """LIF neurons with soft reset and, where they are asked for, three extensions:

        I[t] = α I[t−1] + input[t]                        synaptic current; without: the input
        u[t] = λ (u[t−1] − V s[t−1]) + I[t]               λ may be learned
        p[t] = ρ p[t−1] + s[t−1]                          adaptive threshold; without: p = 0
        s[t] = H(u[t] − V − β p[t])

    The bias is a part of the input. The reset subtracts V, whatever the threshold is by then. As
    SAF neurons u[t] = Û[t] − V λ â[t−1], with Û the input accumulated by α and then by λ
    (`docs/mathematics.md`, "Temporal networks").

    The gradient of λ keeps past spikes constant, as OTTT does: with q[t] = ∂u[t]/∂λ,

        q[t] = (u[t−1] − V s[t−1]) + λ q[t−1],            ∇λ = Σ_t Σ_neurons ∂L/∂u[t] q[t].

    The learned parameter is w with λ = sigmoid(w), one for the layer; λ stays within 1e-4 of 0 and
    1, and has no gradient beyond.
    """

    logit: torch.nn.Parameter | None

    def __init__(
        self,
        decay: float,
        threshold: float,
        surrogate: Surrogate | None = None,
        *,
        learned_decay: bool = False,
        synaptic_decay: float | None = None,
        adaptation: float = 0.0,
        adaptation_decay: float = 0.0,
        folded: NeuronSettings,
    ) -> None:
        """λ `decay`, V `threshold`, α `synaptic_decay`, β `adaptation`, ρ `adaptation_decay`.

        `folded` are the settings that these neurons are deployed with, but for λ.
        """
        super().__init__()
        self._decay, self._threshold = decay, threshold
        self.surrogate = surrogate or Surrogate()
        self.synaptic_decay = synaptic_decay
        self.adaptation, self.adaptation_decay = adaptation, adaptation_decay
        self._folded = folded
        self._read: tuple[Tensor, float, torch.dtype, float] | None = None
        self.logit = None
        if learned_decay:
            bounded = min(max(decay, LEAST_DECAY), MOST_DECAY)
            self.logit = torch.nn.Parameter(torch.tensor(math.log(bounded / (1.0 - bounded))))

    @property
    def decay(self) -> float:
        """λ. One that is learned is read back once after each change of its parameter: on the CPU
        by its value, which torch's fused optimizers change without raising its version; on other
        devices, where reading waits for the device, by its version."""
        learned = self.logit
        if learned is None or learned.is_meta:
            return self._decay
        now = learned.item() if learned.device.type == "cpu" else learned._version
        read = self._read
        if read is None or read[0] is not learned or read[1:3] != (now, learned.dtype):
            found = float(torch.sigmoid(learned.detach().double()))
            found = min(max(found, LEAST_DECAY), MOST_DECAY)
            read = self._read = (learned, now, learned.dtype, found)
        return read[3]

    def __getstate__(self) -> dict[str, Any]:
        # A copy gets other values without its versions telling them apart: it reads its own.
        return self.__dict__ | {"_read": None}

    @property
    def threshold(self) -> float:
        return self._threshold

    @property
    def filters(self) -> Filters:
        if self.synaptic_decay is None:
            return (self.decay,)
        return (self.synaptic_decay, self.decay)

    def accumulated_one(self, t: int) -> float:
        if self.synaptic_decay is None:
            return accumulated_one(t, self.decay)
        return accumulated(t, self.synaptic_decay, self.decay)

    @property
    def _adapts(self) -> bool:
        return self.adaptation != 0.0

    # The recursive form.

    def init_state(self, zeros: Tensor) -> ExtendedState:
        return ExtendedState(
            u=zeros,
            s=zeros,
            current=None if self.synaptic_decay is None else zeros,
            adaptation=zeros if self._adapts else None,
            sensitivity=None if self.logit is None else zeros,
        )

    def step(
        self, current: Tensor, state: ExtendedState, *, fire: Fire = heaviside
    ) -> tuple[Tensor, ExtendedState]:
        decay, sent = self.decay, state.s.detach()
        arriving = None
        if state.current is not None:
            assert self.synaptic_decay is not None
            arriving = current = self.synaptic_decay * state.current + current
        kept = state.u - self._threshold * sent
        u = decay * kept + current
        sensitivity = state.sensitivity
        if sensitivity is not None:
            sensitivity = kept.detach() + decay * sensitivity
            u = self._with_decay(u, sensitivity)
            if state.u.requires_grad:  # BPTT: the graph of the past takes the place of q
                sensitivity = torch.zeros_like(sensitivity)
        x, adaptation = u - self._threshold, state.adaptation
        if adaptation is not None:
            adaptation = self.adaptation_decay * adaptation + sent
            x = x - self.adaptation * adaptation
        s = fire(x)
        return s, ExtendedState(u, s, arriving, adaptation, sensitivity)

    def _with_decay(self, u: Tensor, sensitivity: Tensor) -> Tensor:
        """`u` with its gradient to the learned parameter: `sensitivity` is ∂u/∂λ."""
        assert self.logit is not None
        if not (torch.is_grad_enabled() and self.logit.requires_grad):
            return u
        decay = torch.sigmoid(self.logit).clamp(LEAST_DECAY, MOST_DECAY)
        return u + (decay - decay.detach()).to(u.dtype) * sensitivity

    # The accumulated form.

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
        with torch.set_grad_enabled(gate is not None and torch.is_grad_enabled()):
            return self._accumulate(current, constant, before, gate, carried, potentials)

    def _accumulate(
        self,
        current: Tensor | None,
        constant: Constant,
        before: Tensor | None,
        gate: Gate | None,
        carried: tuple[Tensor, ...],
        potentials: bool,
    ) -> Accumulated:
        value, steps = constant.value, len(constant.forward)
        if current is None:
            assert not constant.shared
            current = several(value, steps).zero_()
        decay, threshold = self.decay, self._threshold
        rows = current.chunk(steps)
        a = torch.zeros_like(rows[0]) if before is None else before
        left = list(carried) or [torch.zeros_like(a)] * self._carries
        fixed = value.detach()
        accumulations, found = [], []
        carries: list[list[Tensor]] = [[] for _ in range(self._carries)]
        fired = a.new_zeros((), dtype=count_spikes(a[:0]).dtype)
        for now, c, back in zip(rows, constant.forward, constant.backward, strict=True):
            u = now + c * fixed - (threshold * decay) * a
            if value.requires_grad and gate is not None:
                u = u + back * (value - fixed)
            if self.logit is not None:
                kept, sensitivity = left[0], left[1]
                sensitivity = kept + decay * sensitivity
                u = self._with_decay(u, sensitivity)
            x, adaptation = u - threshold, None
            if self._adapts:
                adaptation = left[-1]
                x = x - self.adaptation * adaptation
            s = heaviside(x) if gate is None else self._fire(x, u, gate, a)
            accumulations.append(decay * a + s)
            found.append(u.detach())
            s = s.detach()
            fired += count_spikes(s)
            a = accumulations[-1].detach()
            left = []
            if self.logit is not None:
                left = [u.detach() - threshold * s, sensitivity]
            if adaptation is not None:
                left.append(self.adaptation_decay * adaptation + s)
            for rows_of, each in zip(carries, left, strict=True):
                rows_of.append(each)
        return Accumulated(
            torch.cat(accumulations) if steps > 1 else accumulations[0],
            fired,
            torch.cat(found) if potentials else None,
            tuple(torch.cat(each) for each in carries),
        )

    @property
    def _carries(self) -> int:
        """How many tensors are carried: u − V s and q of a learned λ, and p."""
        return 2 * (self.logit is not None) + self._adapts

    def _fire(self, x: Tensor, u: Tensor, gate: Gate, before: Tensor) -> Tensor:
        """Spikes at x, with `gate` for their gradient; an adaptive threshold has its own x."""
        if self._adapts:
            return fire(x, self.derivative)
        return fire(x, lambda _: gate(u.detach(), before))

    # Gradients.

    def derivative(self, x: Tensor) -> Tensor:
        return derivative(self.surrogate)(x)

    def surrogate_gate(self) -> Gate:
        return surrogate_gate(self.surrogate, self._threshold)

    # Deployment.

    def fold(self) -> NeuronSettings:
        return self._folded.model_copy(update={"decay": self.decay})

    def extra_repr(self) -> str:
        parts = [f"λ={self.decay:.4g}{'' if self.logit is None else ' (learned)'}"]
        if self.synaptic_decay is not None:
            parts.append(f"α={self.synaptic_decay:g}")
        parts.append(f"V={self._threshold:g}")
        if self._adapts:
            parts.append(f"β={self.adaptation:g}, ρ={self.adaptation_decay:g}")
        return ", ".join([*parts, self.surrogate.name])


def _detached(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.detach()
