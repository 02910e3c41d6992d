"""Estimate of the memory of a training before it runs; no torch."""

from __future__ import annotations

from math import prod

from pydantic import BaseModel, ConfigDict

from saf.config import ResolvedSpecification
from saf.config.methods import AT_THE_END
from saf.estimate.chunking import MADE_AT_ONCE, held_back, steps_at_once
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
    specification: ResolvedSpecification,
    architecture: Architecture,
    *,
    limit_bytes: int,
    in_time: bool = False,
) -> Forecast:
    """Estimate the memory of a training on `architecture`, and the batch that fits `limit_bytes`.

    The numbers kept per neuron and sample were measured on VGG-11 (exact sums of the tensors alive
    at the peak, T = 2 … 16, batch 4 … 128) and are rounded up: 3.4 to 30 for SAF, growing by 1.5
    with each step taken at once; 7.6 to 10.6 for OTTT; for BPTT 5.6 and 1.6 for each of T steps.
    The check of the conversion keeps 5.6 to 7.3 per neuron and sample in float32 and 6.3 to 12 in
    float64, growing by 4 with each step taken at once (eight networks, batch 2 … 128).

    Data in time (`in_time`: event frames and series), and what images become where they are shown
    in parts or encoded over time, count as neurons do, with the time steps that are made at once;
    values that a delay holds back count half.
    """
    number = {"float64": 8, "float32": 4, "tf32": 4, "bfloat16": 2}[specification.precision]
    optimizer_states = 1 if specification.optimizer.name == "sgd" else 2
    parameters, neurons = architecture.parameters, architecture.neurons
    fixed = parameters * max(4, number) * (3 + optimizer_states)
    fixed += 3 * architecture.tap_weights * max(4, number)  # kernel, product, gradient
    timesteps = specification.timesteps
    asked, method = specification.timesteps_at_once, specification.method
    neuron = specification.neuron

    shapes = architecture.shapes()
    late = 2 * sum(depth * prod(shapes[source]) for source, depth in architecture.delays.items())
    in_time = specification.input.changes(in_time)
    late_at_once = held_back(architecture, in_time=in_time)

    def at_once(samples: int) -> int:
        learns = method.takes_steps_at_once and method.loss_at_each_step
        if architecture.has_feedback and not learns:
            return 1
        if asked:
            return min(asked, timesteps)
        return steps_at_once(samples, timesteps, architecture, in_time=in_time)

    arriving = prod(architecture.input_shape)
    inputs = arriving * timesteps if in_time else arriving

    def needed(samples: int) -> int:
        kept = method.kept(timesteps, at_once(samples))
        kept += type(neuron).kept * at_once(samples)
        spans_all = method.kept(timesteps, 1) > method.kept(1, 1)
        if spans_all and neuron.learns_decay:
            kept += timesteps  # what the gradient of λ needs of each time step
        if architecture.has_feedback and at_once(samples) > 1:
            kept += 4 * at_once(samples)  # results of maps, and what was sent a step before
        if method.takes_steps_at_once and set(neuron.decays) - {neuron.decay}:
            # Accumulations by the λ of those who read them; of feedback those a step before, too.
            kept += (4 if architecture.has_feedback else 2) * at_once(samples)
        if neuron.dropout:
            kept += 2  # the masks, and what they leave beside what was sent
        # Where each time step has a loss, all that the gradient of its scores needs is kept.
        of_scores = 2 * kept if method.loss_at_each_step else 8
        if method.readout in AT_THE_END:
            of_scores += 3 * timesteps  # those of all time steps, with their gradient
        per_sample = kept * neurons + late + of_scores * architecture.classes
        if in_time:
            made = 3 * min(timesteps, max(MADE_AT_ONCE, at_once(samples)))
            per_sample += (made + kept) * arriving + kept // 2 * late_at_once + inputs
        else:
            per_sample += 8 * inputs
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
        all_of_it = fixed + 32 * parameters + largest * (neurons + (arriving if in_time else 0))
        if in_time:
            of_input = arriving * (5 * timesteps // 2 + 3 * min(timesteps, MADE_AT_ONCE))
            all_of_it += max(4 * in_float32, 8 * in_float64) * of_input
        return all_of_it

    def fits(samples: int) -> bool:
        return max(needed(samples), checked(samples)) <= limit_bytes

    largest, too_many = 0, 1
    while fits(too_many):
        largest, too_many = too_many, 2 * too_many
    while too_many - largest > 1:
        middle = (largest + too_many) // 2
        largest, too_many = (middle, too_many) if fits(middle) else (largest, middle)
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
