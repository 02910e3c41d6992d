"""Neurons with an adaptive threshold, as a plugin adds them; their β is given, or learned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import pytest
import torch
from torch import Tensor

from saf import config
from saf.config import Neuron, Surrogate
from saf.kernels.saf_scan import Constant, Gate
from saf.networks.architecture import (
    Shape,
)
from saf.neurons import base
from saf.neurons.base import Accumulated, Fire, State
from saf.neurons.dynamics import heaviside
from saf.neurons.fire import derivative, fire

SIGMOID = Surrogate()


class _State(NamedTuple):
    u: Tensor
    s: Tensor
    p: Tensor

    def detached(self) -> _State:
        return _State(*(each.detach() for each in self))

    def with_spikes(self, s: Tensor) -> _State:
        return self._replace(s=s)


class Adaptive(base.Neuron):
    """An adaptive threshold V + β p with p[t] = ρ p[t−1] + s[t−1]: a model from outside."""

    decay, threshold = 0.7, 0.8
    beta, rho = 0.3, 0.9

    def init_state(self, zeros: Tensor) -> _State:
        return _State(zeros, zeros, zeros)

    def step(self, current: Tensor, state: Any, *, fire: Fire = heaviside) -> tuple[Tensor, State]:
        p = self.rho * state.p + state.s.detach()
        u = self.decay * (state.u - self.threshold * state.s.detach()) + current
        s = fire(u - self.threshold - self.beta * p)
        return s, _State(u, s, p)

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
        steps = len(constant.forward)
        if current is None:  # an image, which is constant
            current = torch.zeros_like(constant.value).repeat(
                steps, *[1] * (constant.value.dim() - 1)
            )
        a = torch.zeros_like(current[: len(current) // steps]) if before is None else before
        p, s = carried if carried else (torch.zeros_like(a), torch.zeros_like(a))
        found: list[tuple[Tensor, ...]] = []
        for now, c, back in zip(
            current.chunk(steps), constant.forward, constant.backward, strict=True
        ):
            fixed = c * constant.value.detach() + back * (constant.value - constant.value.detach())
            u = now + fixed - self.threshold * self.decay * a.detach()
            p = self.rho * p + s
            s = fire(u - self.threshold - self.beta * p, derivative(SIGMOID))
            a = self.decay * a.detach() + s
            s = s.detach()
            found.append((a, u, p, s))
        rows = [torch.cat(each) for each in zip(*found, strict=True)]
        return Accumulated(rows[0], rows[3].sum(), rows[1], (rows[2], rows[3]))

    def accumulated_step(
        self, current: Tensor, state: Any, accumulation: Tensor, *, fire: Fire = heaviside
    ) -> tuple[Tensor, State]:
        raise NotImplementedError

    def derivative(self, x: Tensor) -> Tensor:
        return derivative(SIGMOID)(x)

    def surrogate_gate(self) -> Gate:
        return lambda u, _: derivative(SIGMOID)(u - self.threshold)

    def rate_gate(self, timesteps: int) -> Gate:
        raise NotImplementedError

    def fold(self) -> Neuron:
        return AdaptiveSettings(
            decay=self.decay, threshold=self.threshold, beta=self.beta, rho=self.rho
        )


class AdaptiveSettings(Neuron):
    """The settings of these neurons, as a plugin registers them."""

    name: Literal["test-adaptive"] = "test-adaptive"
    beta: float = 0.1
    rho: float = 0.5

    def neurons(self, shape: Shape) -> Adaptive:
        made = Adaptive()
        made.decay, made.threshold = self.decay, self.threshold
        made.beta, made.rho = self.beta, self.rho
        return made


class Learned(Adaptive):
    """The same, where β is learned."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.learned = torch.nn.Parameter(torch.tensor(beta))

    def step(self, current: Tensor, state: Any, *, fire: Fire = heaviside) -> tuple[Tensor, State]:
        p = self.rho * state.p + state.s.detach()
        u = self.decay * (state.u - self.threshold * state.s.detach()) + current
        s = fire(u - self.threshold - self.learned * p)
        return s, _State(u, s, p)

    def accumulate(self, *given: Any, **more: Any) -> Accumulated:
        self.beta = float(self.learned.detach())
        return super().accumulate(*given, **more)

    def fold(self) -> Neuron:
        return LearnedSettings(
            decay=self.decay,
            threshold=self.threshold,
            beta=float(self.learned.detach()),
            rho=self.rho,
        )


class LearnedSettings(AdaptiveSettings):
    """The settings of these, where `beta` is what β starts at."""

    name: Literal["test-learned"] = "test-learned"  # type: ignore[assignment]

    def neurons(self, shape: Shape) -> Learned:
        made = Learned(self.beta)
        made.decay, made.threshold, made.rho = self.decay, self.threshold, self.rho
        return made


@pytest.fixture
def registered() -> Iterator[None]:
    config.NEURONS.add(AdaptiveSettings)
    config.NEURONS.add(LearnedSettings)
    yield
    config.NEURONS.remove("test-adaptive")
    config.NEURONS.remove("test-learned")
