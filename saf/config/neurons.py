"""The neuron and the surrogate of its derivative."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    field_validator,
)

from saf.config.base import Strict


class Surrogate(Strict):
    """The stand-in for the derivative of the Heaviside step, at x = u − V."""

    name: Literal["sigmoid", "triangle", "rectangle", "arctan"] = "sigmoid"
    slope: Annotated[float, Field(gt=0, le=100)] = 4.0
    """How steep: larger means narrower. 4.0 with `sigmoid` is the published setting of OTTT."""


class Neuron(Strict):
    """Leaky integrate-and-fire with soft reset: u[t] = λ (u[t−1] − V s[t−1]) + input."""

    decay: Annotated[float, Field(gt=0, le=1)] = 0.5
    """λ = 1 − 1/τ, in (0, 1]; 1 is the integrate-and-fire neuron."""
    threshold: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """V, in units of the membrane potential. "auto" is 1: the gains of the layers are fitted to it
    (`network.gain`)."""
    surrogate: Surrogate = Surrogate()
    dropout: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Share of the neurons of each spiking layer that send nothing while training; the others send
    1 / (1 − dropout). One choice per sample for all time steps. OTTT: 0.1 on CIFAR10-DVS, else
    0."""

    @field_validator("threshold", mode="before")
    @classmethod
    def _auto_is_one(cls, value: Any) -> Any:
        return 1.0 if value == "auto" else value
