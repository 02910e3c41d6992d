"""The training methods that a job can ask for, and their settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    field_validator,
)

from saf.config.base import Strict


class _PerStep(Strict):
    """A method with a loss at each step."""

    readout: Literal["mean", "weighted"] = "mean"
    """What the network is read by. `mean`: the mean of the scores of all steps, each with a loss of
    its own, as published with OTTT. `weighted`: the mean with weights λ^(T−t), at each step over
    the steps so far, as `saf-f` takes it at the last one."""


class _FinalStep(Strict):
    """A method with a loss at the final step."""

    readout: Literal["weighted"] = "weighted"
    """The λ-weighted mean, which is what the loss at the final step sees."""

    @field_validator("readout", mode="before")
    @classmethod
    def _weighted(cls, value: Any) -> Any:
        if value == "mean":
            raise ValueError(
                "saf-f and spike-representation train the weighted readout, and the mean would "
                "lose accuracy; for readout = mean take saf-e, ottt-a, ottt-o or bptt"
            )
        return value


class SafE(_PerStep):
    """Spike Accumulation Forwarding, a loss at each step. Same gradient as OTTT."""

    name: Literal["saf-e"] = "saf-e"
    update: Literal["sequence", "step"] = "sequence"
    """When the optimizer steps: once per batch, or after every time step, as `ottt-o` does."""
    trace_bias_and_input: bool = False
    """Also apply the trace to the bias and to the first layer's constant input (c[t] g instead of
    g). The formula asks for it; the code published with OTTT does not do it."""


class SafF(_FinalStep):
    """Spike Accumulation Forwarding, a loss at the final step only: one backward pass per batch
    whatever T is. Same gradient as the Spike Representation up to a power of V per layer."""

    name: Literal["saf-f"] = "saf-f"
    trace_bias_and_input: bool = True
    """As in `saf-e`; on by default, since Theorem 2 of the paper needs it."""


class OtttA(_PerStep):
    """Online Training Through Time, gradients accumulated over the sequence, one update."""

    name: Literal["ottt-a"] = "ottt-a"
    trace_bias_and_input: bool = False
    """As in `saf-e`."""


class OtttO(_PerStep):
    """Online Training Through Time, an update after every time step."""

    name: Literal["ottt-o"] = "ottt-o"
    trace_bias_and_input: bool = False
    """As in `saf-e`."""


class SpikeRepresentation(_FinalStep):
    """DSR: forward with spikes, backward through the clamp that the weighted rate approximates."""

    name: Literal["spike-representation"] = "spike-representation"


class BPTT(_PerStep):
    """Back-propagation through time with surrogate gradients, the baseline; memory grows with T."""

    name: Literal["bptt"] = "bptt"


Method = Annotated[
    SafE | SafF | OtttA | OtttO | SpikeRepresentation | BPTT, Field(discriminator="name")
]


def updates_at_each_step(method: Method) -> bool:
    """Whether the optimizer steps after every time step, and not once per batch."""
    return isinstance(method, OtttO) or (isinstance(method, SafE) and method.update == "step")


def takes_steps_at_once(method: Method) -> bool:
    """Whether the method may compute several time steps at once, layer by layer."""
    return isinstance(method, SafE | SafF | SpikeRepresentation) and not updates_at_each_step(
        method
    )
