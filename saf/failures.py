"""What makes a training fail, found out early and told with a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from saf.architecture import Architecture
from saf.checkpoint import Progress
from saf.config import JobSpecification, updates_at_each_step
from saf.environment import memory_bytes
from saf.errors import DivergedError, OutOfMemoryError, SilentNetworkError, TimeLimitError
from saf.forecast import forecast

SILENT_EPOCHS = 2
LACKING = (
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",
)


def diverged(where: str, specification: JobSpecification) -> DivergedError:
    """The error to raise where a loss that is not finite was found."""
    rate = specification.optimizer.learning_rate
    return DivergedError(
        f"the loss became NaN or infinite {where}",
        hint=f"lower the learning rate (it is {rate:g}; try {rate / 10:g}), add "
        "schedule.warmup_epochs, or check the data set for extreme values",
    )


def time_is_up(specification: JobSpecification, progress: Progress) -> bool:
    """Whether the training of this job took longer than `max_runtime_seconds`."""
    limit = specification.max_runtime_seconds
    return limit is not None and progress.counted_seconds() - progress.earlier_seconds > limit


def out_of_time(specification: JobSpecification, progress: Progress) -> TimeLimitError:
    """The error to raise once the time is up."""
    return TimeLimitError(
        f"the training took longer than max_runtime_seconds = "
        f"{specification.max_runtime_seconds:g}; it had done {progress.step} iterations and "
        f"{len(progress.history)} of {specification.epochs} epochs",
        hint="retry the job, which goes on from here for as long again; or ask for fewer epochs "
        "or a smaller network",
    )


def check_not_silent(
    specification: JobSpecification, progress: Progress, largest_class: float
) -> None:
    """Raise `SilentNetworkError` when a layer has been silent for two epochs and nothing is learnt.

    A job of one epoch is judged by that one. Silence alone is no failure: the published VGG-11
    begins with silent layers and wakes them up through the surrogate, and a layer beside a skip
    connection may be silent for good. So the loss must also have stood still (less than 1 % down)
    and the accuracy must be near that of naming the most frequent class, which makes up
    `largest_class` of the samples.
    """
    recent = progress.history[-min(SILENT_EPOCHS, specification.epochs) :]
    silent = [
        key.removeprefix("firing_rate/")
        for key in recent[-1]
        if key.startswith("firing_rate/") and all(epoch[key] == 0.0 for epoch in recent)
    ]
    if (
        not silent
        or len(recent) < min(SILENT_EPOCHS, specification.epochs)
        or recent[-1]["train_loss"] < 0.99 * recent[0]["train_loss"]
        or recent[-1]["train_accuracy"] > 1.5 * largest_class
    ):
        return
    raise SilentNetworkError(
        f"{silent[0]} has not fired once in {len(recent)} epoch(s), so that nothing reaches the "
        "layers after it",
        hint=f"lower the threshold (V = {specification.neuron.threshold:g}), raise the decay "
        f"(λ = {specification.neuron.decay:g}) or timesteps (T = {specification.timesteps}), or "
        "take a smaller slope of the surrogate, so that the gradient reaches silent neurons",
    )


@contextmanager
def memory_explained(
    specification: JobSpecification,
    architecture: Architecture,
    samples: int,
    device: torch.device,
) -> Iterator[None]:
    """Turn a failed allocation into an `OutOfMemoryError` that names a batch to try."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        lacking = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not lacking and not any(sign in str(error) for sign in LACKING):
            raise
        total = memory_bytes(device)
        needed = forecast(specification, architecture, limit_bytes=total)
        batch = min(specification.batch_size, samples)
        at_once = -(-batch // specification.micro_batches)
        fits = needed.largest_batch // specification.micro_batches
        smaller = max(1, min(at_once // 2, fits))
        raise OutOfMemoryError(
            f"the {device} device has too little memory for {at_once} samples at once (forecast: "
            f"{_gib(needed.memory_bytes)} of {_gib(total)}; by the forecast {fits} at once fit)",
            hint=_remedy(specification, batch, smaller if at_once > 1 else None),
            samples=smaller if at_once > 1 else None,
        ) from error


def _remedy(specification: JobSpecification, batch: int, at_once: int | None) -> str:
    fewer = (specification.timesteps_at_once or 1) > 1
    of_steps = 'set "timesteps_at_once" to 1, which is the same training in less memory, or '
    if at_once is None:
        return (of_steps if fewer else "") + "take a smaller network"
    remedy = f'set "batch_size" to {at_once * specification.micro_batches} or less'
    if updates_at_each_step(specification.method):
        return remedy
    parts = -(-batch // at_once)
    same = f'{remedy}, or "micro_batches" to {parts}: the same training, in less memory'
    return f'{same}, or "timesteps_at_once" to 1' if fewer else same


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
