"""The neuron and the surrogate of its derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, field_validator

from saf.config.base import Strict
from saf.config.choice import Variant
from saf.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

Derivative = Callable[["Tensor"], "Tensor"]


class Surrogate(Strict):
    """The stand-in for the derivative of the Heaviside step, at x = u − V."""

    label: ClassVar[str] = "Surrogate"
    place: ClassVar[int] = 100

    name: str = "sigmoid"
    slope: Annotated[float, Field(gt=0, le=100)] = 4.0
    """How steep: larger means narrower. 4.0 with `sigmoid` is the published setting of OTTT."""

    @field_validator("name")
    @classmethod
    def _is_registered(cls, name: str) -> str:
        if name not in SURROGATES:
            raise ValueError(f"there is no {name!r}; use one of {', '.join(SURROGATES.names())}")
        return name

    def derivative(self) -> Derivative:
        """σ' of x, elementwise, in the shape and type of x. A surrogate is one file in
        `saf.neurons.surrogates` or in a plugin: a subclass that says this, with a `name` and a
        `label`, registered by `@SURROGATES.add`; its docstring is the formula."""
        own = SURROGATES[self.name]
        return own(**self.model_dump(exclude={"name"}, exclude_unset=True)).derivative()


SURROGATES: Registry[Surrogate] = Registry("surrogate", "saf.neurons.surrogates")
"""All surrogates by name."""
SURROGATE = Variant(SURROGATES, "sigmoid", Surrogate)


class Neuron(Strict):
    """Leaky integrate-and-fire with soft reset: u[t] = λ (u[t−1] − V s[t−1]) + input."""

    decay: Annotated[float, Field(gt=0, le=1)] = 0.5
    """λ = 1 − 1/τ, in (0, 1]; 1 is the integrate-and-fire neuron."""
    threshold: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """V, in units of the membrane potential. "auto" is 1: the gains of the layers are fitted to it
    (`network.gain`)."""
    surrogate: Annotated[Surrogate, SURROGATE] = Field(default_factory=SURROGATE.default)
    dropout: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Share of the neurons of each spiking layer that send nothing while training; the others send
    1 / (1 − dropout). One choice per sample for all time steps. OTTT: 0.1 on CIFAR10-DVS, else
    0."""

    @field_validator("threshold", mode="before")
    @classmethod
    def _auto_is_one(cls, value: Any) -> Any:
        return 1.0 if value == "auto" else value
