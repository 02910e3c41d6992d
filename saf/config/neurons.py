"""What a neuron model and a surrogate are to a specification: their settings. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from saf.config.base import Strict
from saf.config.choice import Variant
from saf.powers import MOST_GRID_BITS, POWERS, halvings, nearest_power
from saf.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from saf.networks.architecture import Shape
    from saf.neurons import base

Derivative = Callable[["Tensor"], "Tensor"]
Form = Literal["rate_gate", "accumulated_step"]
"""What some methods ask of neurons and not every model has: a gradient of firing rates, and a step
of the accumulated form where weights change after each; of `saf.neurons.base.Neuron`."""
Decay = Annotated[float, Field(gt=0, le=1)]


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


def _auto_is_one(value: Any) -> Any:
    return 1.0 if value == "auto" else value


class Neuron(Strict):
    """The neurons of all spiking layers; by default leaky integrate-and-fire with soft reset:
    u[t] = λ (u[t−1] − V s[t−1]) + input."""

    # A model is one file in `saf.neurons.models` or in a plugin: a subclass with a `name`, a
    # `label` and `neurons`, registered by `@NEURONS.add`. Its docstring is what people read of it.

    label: ClassVar[str] = "Neuron"
    """What people read in place of the name: "LIF"."""
    place: ClassVar[int] = 100
    fits_grid: ClassVar[bool] = False
    """Whether `conversion.grid_bits` is possible: whether a bound is known for its arithmetic."""
    powers: ClassVar[tuple[str, ...]] = ("decay",)
    """Settings that have to be powers of two, 2^−n, on a grid …"""
    multiples: ClassVar[tuple[str, ...]] = ()
    """… and those that have to be multiples of 2^−20."""
    learns_decay: ClassVar[bool] = False
    """Whether λ is learned, so that it is no power of two unless it is rounded."""
    scans: ClassVar[bool] = False
    """Whether it computes spikes by `saf.kernels.saf_scan`, so that compiling that pays."""
    kept: ClassVar[int] = 0
    """Numbers that it keeps for each neuron and sample beside u, s and â: the forecast of
    memory."""
    updates: ClassVar[int] = 1
    """Multiply-adds of one neuron in one time step of its LIF form: the estimate of energy."""
    lacks: ClassVar[frozenset[Form]] = frozenset()
    """What it does not have of that which some methods ask for."""

    name: str = "lif"
    decay: Decay = 0.5
    """λ = 1 − 1/τ, in (0, 1]; 1 is the integrate-and-fire neuron."""
    decays: Annotated[tuple[Decay, ...], Field(max_length=512)] = ()
    """λ of each spiking layer, from the first on, in place of `decay`, which then is that of the
    weighted readout alone. Empty: `decay` for all."""
    threshold: Annotated[float, Field(gt=0, le=1000), BeforeValidator(_auto_is_one)] = 1.0
    """V, in units of the membrane potential. "auto" is 1: the gains of the layers are fitted to it
    (`network.gain`)."""
    surrogate: Annotated[Surrogate, SURROGATE] = Field(default_factory=SURROGATE.default)
    dropout: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Share of the neurons of each spiking layer that send nothing while training; the others send
    1 / (1 − dropout). One choice per sample for all time steps. OTTT: 0.1 on CIFAR10-DVS, else
    0."""

    @field_validator("name")
    @classmethod
    def _is_registered(cls, name: str) -> str:
        if name not in NEURONS:
            raise ValueError(f"there is no {name!r}; use one of {', '.join(NEURONS.names())}")
        return name

    def neurons(self, shape: Shape) -> base.Neuron:
        """Make the neurons of a layer of `shape` (C H W, or F): a `saf.neurons.base.Neuron` with
        these settings. Loads torch."""
        own = NEURONS[self.name](**self.given())
        return own.neurons(shape)

    def of_layer(self, number: int) -> Neuron:
        """The settings of the spiking layer `number`, from 0."""
        if not self.decays:
            return self
        return self.model_copy(update={"decay": self.decays[number], "decays": ()})

    def most_accumulated(self, timesteps: int) -> float:
        """The largest number that a layer can accumulate of spikes, one in each of `timesteps`."""
        return accumulated(timesteps, self.largest_decay)

    @property
    def largest_decay(self) -> float:
        """The largest λ that a layer can have."""
        return max((self.decay, *self.decays))

    def off_grid(self) -> Iterator[str]:
        """What a network on a grid needs that these settings do not have, as the end of a sentence
        that begins with "needs"."""
        decays = () if self.learns_decay else self.decays
        values = [(name, getattr(self, name)) for name in self.powers]
        for name, value in (*values, *(("decays", each) for each in decays)):
            if halvings(value) is None:
                yield (
                    f"neuron.{name} = 2^−n ({POWERS}), not {value:g}: a multiplication by it is "
                    f"exact in floating point, and any other leaves the grid at the first step; "
                    f"{nearest_power(value):g} is the nearest"
                )
        for name in self.multiples:
            value = getattr(self, name)
            if value * 2.0**MOST_GRID_BITS % 1:
                near = round(value * 2.0**8) / 2.0**8
                yield (
                    f"a neuron.{name} that is a multiple of 2^−{MOST_GRID_BITS}, not {value:g}; "
                    f"{near:g} is one"
                )
        if self.threshold != 1.0:
            yield (
                f"neuron.threshold = 1, not {self.threshold:g}: the reset must stay on the grid of "
                "the weights"
            )

    def given(self) -> dict[str, Any]:
        """The settings that are not left to their defaults."""
        return {key: getattr(self, key) for key in self.model_fields_set - {"name"}}

    def constants(self) -> dict[str, Any]:
        """The settings that matter where the neurons of a layer are deployed: neither those of the
        gradient nor the dropout, nor those of other layers."""
        return self.model_dump(exclude={"surrogate", "dropout", "decays"})


@lru_cache(2**16)
def accumulated(timesteps: int, *decays: float) -> float:
    """The accumulation of a constant 1 after `timesteps` by filters with these decays, one after
    the other: a ← λ a + 1, and the next one accumulates a."""
    states = [0.0] * len(decays)
    for _ in range(timesteps):
        arriving = 1.0
        for number, decay in enumerate(decays):
            arriving = states[number] = decay * states[number] + arriving
    return states[-1]


NEURONS: Registry[Neuron] = Registry("neuron", "saf.neurons.models")
"""All neuron models by name."""
NEURON = Variant(NEURONS, "lif", Neuron)
