"""What a training method is to a specification: its settings, and all that others ask of it.

A method is one file in `saf.methods` or in a plugin: a subclass of `AtEachStep` or `AtTheFinalStep`
with a `name`, a `label` and a `rule`, registered by `@METHODS.add`. Its docstring is what people
read of it. This module and the head of such a file load no torch; `rule` does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from saf.config.base import Strict
from saf.config.neurons import Form
from saf.registry import Registry

if TYPE_CHECKING:
    from saf.model.batch import Rule


Readout = Literal["mean", "weighted", "last", "max"]
"""How scores are read from the outputs o[t] of the last layer at T time steps: from their mean,
from their mean with the weights λ^(T−t), from the last one, or from the largest of each class. The
scores of `mean` are the sum of o[t], T times the mean, which stays exact on a grid."""
AT_THE_END: frozenset[Readout] = frozenset({"last", "max"})
"""Readouts with one loss, that of the scores after all time steps."""


class Method(Strict):
    """A way to train a network; its fields are settings."""

    label: ClassVar[str] = ""
    """What people read in place of the name: "SAF-E"; empty: the name."""
    place: ClassVar[int] = 100
    loss_at_each_step: ClassVar[bool] = True
    """Whether the loss is taken at each time step, and not at the final one only."""
    scans: ClassVar[bool] = False
    """Whether it computes spikes by `saf.kernels.saf_scan`, so that compiling that pays."""
    compared: ClassVar[bool] = False
    """Whether the chart of memory forecasts shows it beside what was asked for."""

    name: str = ""
    readout: Readout = "mean"

    @abstractmethod
    def rule(self) -> Rule:
        """The function that learns from a batch, with these settings. Loads torch."""

    @property
    def updates_at_each_step(self) -> bool:
        """Whether the optimizer steps after every time step, and not once per batch."""
        return False

    @property
    def asks_for(self) -> Form | None:
        """What it asks of neurons that not every model has."""
        return None

    @property
    def takes_steps_at_once(self) -> bool:
        """Whether it may compute several time steps at once, layer by layer."""
        return False

    def kept(self, timesteps: int, at_once: int) -> int:
        """Numbers that it keeps for each neuron and sample of a batch at the peak of an iteration,
        of T `timesteps` of which `at_once` are computed together: the forecast of memory."""
        return 7 + 2 * timesteps

    def backward_passes(self, timesteps: int) -> int:
        """How many times a sample passes every map backward in an iteration: the forecast of
        time."""
        return timesteps


class AtEachStep(Method):
    """A method with a loss at each time step."""

    readout: Readout = "mean"
    """How scores are read. `mean`: the mean of the scores of all time steps, each with a loss of
    its own, as published with OTTT. `weighted`: the mean with weights λ^(T−t), at each time step
    over those so far, as `saf-f` takes it at the last one. `last`: the score of the last time step;
    `max`: of each class the largest of all time steps. These two have one loss, at the end, whose
    gradient goes to the time steps that the scores are of; `saf-e` and `ottt-a` run a batch twice
    for it, and keep no more of it than the scores of all time steps."""

    @model_validator(mode="after")
    def _read_out_once(self) -> Self:
        if self.readout in AT_THE_END and self.updates_at_each_step:
            raise ValueError(
                f"the readout {self.readout} has one loss, at the end, and {self.name} as chosen "
                "updates the weights after every time step; take readout = mean or weighted, or "
                "saf-e with update = sequence, ottt-a or bptt"
            )
        return self


class AtTheFinalStep(Method):
    """A method with a loss at the final step."""

    loss_at_each_step: ClassVar[bool] = False

    readout: Literal["weighted"] = "weighted"
    """The λ-weighted mean, which is what the loss at the final step sees."""

    def backward_passes(self, timesteps: int) -> int:
        return 1

    @field_validator("readout", mode="before")
    @classmethod
    def _weighted(cls, value: Any) -> Any:
        if value == "mean":
            raise ValueError(
                "saf-f and spike-representation train the weighted readout, and the mean would "
                "lose accuracy; for readout = mean take saf-e, ottt-a, ottt-o or bptt"
            )
        if value in AT_THE_END:
            raise ValueError(
                f"saf-f and spike-representation train the weighted readout; for readout = {value} "
                "take saf-e, ottt-a or bptt"
            )
        return value


METHODS: Registry[Method] = Registry("method", "saf.methods")
"""All training methods by name."""


def with_readout_of(method: Any, theirs: Mapping[str, Any]) -> Any:
    """`method`, a name or settings as a specification says it, with the readout of `theirs`, the
    method of the network that a job starts from, where it says none and has the choice."""
    said = {"name": method} if isinstance(method, str) else method
    if not isinstance(said, Mapping) or "readout" in said:
        return method
    name = str(said.get("name"))
    if name not in METHODS or not issubclass(METHODS[name], AtEachStep):
        return method
    default = METHODS[theirs["name"]].model_fields["readout"].default
    return {**said, "readout": theirs.get("readout", default)}


def method_label(name: str) -> str:
    """What people read in place of a method's name; the name where nothing here adds the method."""
    return (METHODS[name].label if name in METHODS else "") or name
