"""What a training will need, told before it runs; no torch."""

from __future__ import annotations

from math import prod

from pydantic import BaseModel, ConfigDict

from saf.architecture import Architecture
from saf.config import JobSpecification


class Forecast(BaseModel):
    """What a job will need."""

    model_config = ConfigDict(frozen=True)

    parameters: int
    neurons: int
    memory_bytes: int
    """Estimate of the peak of a training process, without the interpreter and the libraries."""
    largest_batch: int
    """The largest batch that stays below the limit asked about."""


def forecast(
    specification: JobSpecification, architecture: Architecture, *, limit_bytes: int
) -> Forecast:
    """Estimate the memory of a training on `architecture`, and the batch that fits `limit_bytes`.

    Per neuron and sample a step keeps about six numbers (potential, accumulation, derivative,
    scaled copy and their gradients); bptt keeps them for every one of the T steps.
    """
    number = {"float64": 8, "float32": 4, "bfloat16": 2}[specification.precision]
    optimizer_states = 1 if specification.optimizer.name == "sgd" else 2
    fixed = architecture.parameters * 4 * (3 + optimizer_states)
    kept_steps = specification.timesteps if specification.method.name == "bptt" else 1
    per_sample = 6 * number * architecture.neurons * kept_steps
    per_sample += 8 * number * prod(architecture.input_shape)
    return Forecast(
        parameters=architecture.parameters,
        neurons=architecture.neurons,
        memory_bytes=fixed + per_sample * specification.batch_size,
        largest_batch=max(0, (limit_bytes - fixed) // per_sample),
    )
