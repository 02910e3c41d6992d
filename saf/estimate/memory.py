"""Estimate of the memory of a training before it runs; no torch."""

from __future__ import annotations

from math import prod

from pydantic import BaseModel, ConfigDict

from saf.config import ResolvedSpecification
from saf.estimate.chunking import FULL_BATCH, steps_at_once
from saf.networks.architecture import Architecture


class Forecast(BaseModel):
    """Memory and size of a job."""

    model_config = ConfigDict(frozen=True)

    parameters: int
    neurons: int
    memory_bytes: int
    """Estimate of the peak of a training process, without the interpreter and the libraries: the
    larger of the next two."""
    training_bytes: int
    """Of an iteration."""
    check_bytes: int
    """Of the check of the conversion."""
    largest_batch: int
    """The largest batch that stays below the limit asked about, in as many micro-batches."""


CHECKED_AT_ONCE = 128  # samples of a batch of a conversion's check in float32 …
CHECKED_AT_ONCE_IN_FLOAT64 = 32  # … and in float64, which take twice the memory


def forecast(
    specification: ResolvedSpecification, architecture: Architecture, *, limit_bytes: int
) -> Forecast:
    """Estimate the memory of a training on `architecture`, and the batch that fits `limit_bytes`.

    The numbers kept per neuron and sample were measured on VGG-11 (exact sums of the tensors alive
    at the peak, T = 2 … 16, batch 4 … 128) and are rounded up: 3.4 to 30 for SAF, growing by 1.5
    with each step taken at once; 7.6 to 10.6 for OTTT; for BPTT 5.6 and 1.6 for each of T steps.
    The check of the conversion keeps 5.6 to 7.3 per neuron and sample in float32 and 6.3 to 12 in
    float64, growing by 4 with each step taken at once (eight networks, batch 2 … 128).
    """
    number = {"float64": 8, "float32": 4, "tf32": 4, "bfloat16": 2}[specification.precision]
    optimizer_states = 1 if specification.optimizer.name == "sgd" else 2
    parameters, neurons = architecture.parameters, architecture.neurons
    fixed = parameters * max(4, number) * (3 + optimizer_states)
    fixed += 3 * architecture.tap_weights * max(4, number)  # kernel, product, gradient
    timesteps = specification.timesteps
    asked = specification.timesteps_at_once

    shapes = architecture.shapes()
    late = 2 * sum(depth * prod(shapes[source]) for source, depth in architecture.delays.items())

    def at_once(samples: int) -> int:
        if architecture.has_feedback:
            return 1
        return min(asked, timesteps) if asked else steps_at_once(samples, timesteps, architecture)

    inputs = prod(architecture.input_shape)
    if specification.input.present != "whole":
        inputs *= timesteps  # an image, of which the first layer gets a part at a time

    def needed(samples: int) -> int:
        kept = specification.method.kept(timesteps, at_once(samples))
        kept += type(specification.neuron).kept * at_once(samples)
        if specification.neuron.dropout:
            kept += 2  # the masks, and what they leave beside what was sent
        per_sample = kept * neurons + 8 * inputs + late
        return fixed + number * per_sample * samples

    def checked(samples: int) -> int:
        one_step = architecture.has_feedback or bool(specification.conversion.on_grid)
        in_float64 = min(samples, CHECKED_AT_ONCE_IN_FLOAT64)
        at_once_in_float64 = (
            1 if one_step else min(timesteps, CHECKED_AT_ONCE_IN_FLOAT64 // in_float64)
        )
        in_float32 = min(samples, CHECKED_AT_ONCE)
        at_once_in_float32 = 1 if one_step else steps_at_once(in_float32, timesteps)
        kept = 3 + 4 * at_once_in_float32
        if specification.precision in ("bfloat16", "tf32"):  # compared as it was trained, too
            kept += 2 * at_once_in_float32
        largest = max(4 * kept * in_float32, 8 * (7 + 4 * at_once_in_float64) * in_float64)
        return fixed + 32 * parameters + largest * neurons

    # Above a full batch the need of a sample no longer depends on their number.
    alone = (needed(2 * FULL_BATCH) - needed(FULL_BATCH)) // FULL_BATCH
    largest = max(0, limit_bytes - fixed) // alone
    if largest < FULL_BATCH or checked(FULL_BATCH) > limit_bytes:
        sizes = range(FULL_BATCH, 0, -1)
        fits = (n for n in sizes if max(needed(n), checked(n)) <= limit_bytes)
        largest = next(fits, 0)
    # While a part of a batch is computed, nothing but the input is kept of the others.
    waiting = specification.batch_size - specification.samples_at_once
    training = needed(specification.samples_at_once)
    training += number * inputs * waiting
    check = checked(specification.samples_at_once)
    return Forecast(
        parameters=parameters,
        neurons=neurons,
        memory_bytes=max(training, check),
        training_bytes=training,
        check_bytes=check,
        largest_batch=largest * specification.micro_batches,
    )
