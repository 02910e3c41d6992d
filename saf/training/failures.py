"""Errors of a training, detected early and raised with a hint that names a remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from saf.config import Conversion, ResolvedSpecification
from saf.errors import DivergedError, OutOfMemoryError, SilentNetworkError, TimeLimitError
from saf.estimate.memory import forecast
from saf.networks.architecture import Architecture
from saf.sizes import readable
from saf.training.checkpoint import Progress
from saf.training.evaluation.remedies import lower_rate
from saf.training.hardware.environment import memory_bytes
from saf.training.optimisation.loss import loss_of_no_answer

SILENT_EPOCHS = 2
HIGH = 10.0  # times the loss before the first update, or without an answer; two epochs in a row
FAR = 1000.0  # times it, once
LACKING = (
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",
)


def diverged(where: str, specification: ResolvedSpecification) -> DivergedError:
    """The error for a loss that is not finite."""
    return DivergedError(f"the loss became NaN or infinite {where}", hint=_calmer(specification))


def check_not_diverged(
    specification: ResolvedSpecification, progress: Progress, classes: int
) -> None:
    """Raise `DivergedError` when the loss is far above what it was before the first update.

    That is more than 1,000 times in the last epoch, or more than 10 times in the last two, or in
    the only one. A loss that is a little higher may come down again. A training that starts from
    good weights begins at nearly nothing, and ten times that is little: what counts is then the
    loss of a network that gives no answer.
    """
    start = progress.initial_loss
    if start is None:
        return
    losses = [epoch["train_loss"] for epoch in progress.history]
    fewest = min(2, specification.epochs)
    least = max(start, loss_of_no_answer(specification.loss, classes))
    far, high = losses[-1] > FAR * least, min(losses[-fewest:]) > HIGH * least
    if far or (high and len(losses) >= fewest):
        raise DivergedError(
            f"the loss rose from {start:.3g} before the first update to {losses[-1]:.3g} in epoch "
            f"{len(losses)}",
            hint=_calmer(specification),
        )


def _calmer(specification: ResolvedSpecification) -> str:
    norm = "" if specification.max_gradient_norm is not None else 'set "max_gradient_norm" to 1, '
    return (
        f"{lower_rate(specification)}, {norm}add "
        "schedule.warmup_epochs, or check the data set for extreme values"
    )


def time_is_up(specification: ResolvedSpecification, progress: Progress) -> bool:
    """Whether the training of this job took longer than `max_runtime_seconds`."""
    limit = specification.max_runtime_seconds
    return limit is not None and progress.counted_seconds() - progress.earlier_seconds > limit


def out_of_time(specification: ResolvedSpecification, progress: Progress) -> TimeLimitError:
    """The error to raise once the time is up."""
    return TimeLimitError(
        f"the training took longer than max_runtime_seconds = "
        f"{specification.max_runtime_seconds:g}; it had done {progress.step} iterations and "
        f"{len(progress.history)} of {specification.epochs} epochs",
        hint="retry the job, which goes on from here for as long again; or ask for fewer epochs "
        "or a smaller network",
    )


def check_not_silent(
    specification: ResolvedSpecification,
    progress: Progress,
    largest_class: float,
    lower: Callable[[], float | None],
) -> None:
    """Raise `SilentNetworkError` when a layer has been silent for two epochs and nothing is learnt.

    A job of one epoch is judged by that one. Silence of one layer alone is no failure: the
    published VGG-11 begins with silent layers and wakes them up through the surrogate, and a layer
    beside a skip connection may be silent for good. So the loss must also have stood still (less
    than 1 % down) and the accuracy must be near that of naming the most frequent class, which makes
    up `largest_class` of the samples: at most half again as many right, or half of the others.
    `lower()` is a threshold at which every layer fires, or None:
    it is asked for where the error has to name a remedy.
    """
    epochs = min(SILENT_EPOCHS, specification.epochs)
    recent = progress.history[-epochs:]
    better = largest_class + 0.5 * min(largest_class, 1.0 - largest_class)
    silent = [name for name in layers_of(recent[-1]) if all(_rate(e, name) == 0.0 for e in recent)]
    if (
        not silent
        or len(recent) < epochs
        or recent[-1]["train_loss"] < 0.99 * recent[0]["train_loss"]
        or recent[-1]["train_accuracy"] > better
    ):
        return
    raise silence(specification, progress, silent[0], lower)


def silence(
    specification: ResolvedSpecification,
    progress: Progress,
    layer: str,
    lower: Callable[[], float | None],
) -> SilentNetworkError:
    """The error for a `layer` that does not fire, with the remedy for what made it silent.

    A layer that fired in an earlier epoch, or would before the first update, was driven into
    silence by the updates; another one has potentials that never reach the threshold.
    """
    alive = [epoch for epoch in progress.history if _rate(epoch, layer) > 0.0]
    threshold = specification.neuron.threshold
    if alive:
        return SilentNetworkError(
            f"{layer} fired until epoch {alive[-1]['epoch']:g} and is silent since, so that "
            "nothing reaches the layers after it",
            hint=f"updates drove it below the threshold: {lower_rate(specification)}"
            + _or_clipping(specification),
        )
    if progress.gains.get(layer, 1.0) != 1.0:
        # The first pass made it fire: the updates of the first epoch silenced it.
        return SilentNetworkError(
            f"{layer} fired before the first update and not once in an epoch",
            hint=lower_rate(specification) + _or_clipping(specification),
        )
    remedies = []
    if (value := lower()) is not None:
        remedies.append(f"set neuron.threshold to {value:g}, at which every layer fires")
    if specification.init is not None:  # there is no first pass, whatever the gain is
        remedies.append("leave init out, so that the layers are fitted to the samples")
    elif specification.network.gain != "auto":
        remedies.append('set network.gain to "auto", which fits the layers to the threshold')
    elif not remedies:  # the first pass has found no gain at which it fires
        remedies.append("take another network, or check what the samples hold")
    remedy = f"no potential reaches the threshold of {threshold:g}: {', or '.join(remedies)}"
    return SilentNetworkError(
        f"{layer} has not fired once in {len(progress.history)} epoch(s), so that nothing reaches "
        "the layers after it",
        hint=remedy,
    )


def silenced(conversion: Conversion) -> SilentNetworkError:
    """The error for a network that fired as it was trained and does not with rounded weights."""
    if conversion.weight_bits is not None:
        return SilentNetworkError(
            f"with weights of {conversion.weight_bits} bits no neuron fires on any sample",
            hint="set conversion.weight_bits to more, or conversion.fine_tune_epochs",
        )
    return SilentNetworkError(
        f"on a grid of 2^−{conversion.grid_bits} no neuron fires on any sample"
        if conversion.grid_bits != "auto"
        else "on the grid no neuron fires on any sample",
        hint='set conversion.grid_bits to more or to "auto", which takes a grid only where it '
        "costs little, or leave it out",
    )


def _or_clipping(specification: ResolvedSpecification) -> str:
    return (
        "" if specification.max_gradient_norm is not None else ', or set "max_gradient_norm" to 1'
    )


def layers_of(epoch: dict[str, float]) -> list[str]:
    """The layers whose firing rate the metrics of an epoch hold."""
    prefix = "firing_rate/"
    return [key.removeprefix(prefix) for key in epoch if key.startswith(prefix)]


def _rate(epoch: dict[str, float], layer: str) -> float:
    return epoch.get(f"firing_rate/{layer}", 0.0)


@contextmanager
def memory_explained(
    specification: ResolvedSpecification,
    architecture: Architecture,
    samples: int,
    device: torch.device,
    *,
    in_time: bool = False,
) -> Iterator[None]:
    """Turn a failed allocation into an `OutOfMemoryError` that names a batch to try. `in_time` says
    that samples change over time."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        lacking = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not lacking and not any(sign in str(error) for sign in LACKING):
            raise
        total = memory_bytes(device)
        needed = forecast(specification, architecture, limit_bytes=total, in_time=in_time)
        batch = min(specification.batch_size, samples)
        at_once = -(-batch // specification.micro_batches)
        fits = needed.largest_batch // specification.micro_batches
        smaller = max(1, min(at_once // 2, fits))
        raise OutOfMemoryError(
            f"the {device} device has too little memory for {at_once} samples at once (forecast: "
            f"{readable(needed.memory_bytes)} of {readable(total)}; by the forecast {fits} at once "
            "fit)",
            hint=_remedy(specification, batch, smaller if at_once > 1 else None),
            samples=smaller if at_once > 1 else None,
        ) from error


def _remedy(specification: ResolvedSpecification, batch: int, at_once: int | None) -> str:
    fewer = (specification.timesteps_at_once or 1) > 1
    of_steps = 'set "timesteps_at_once" to 1, which is the same training in less memory, or '
    if at_once is None:
        return (of_steps if fewer else "") + "take a smaller network"
    remedy = f'set "batch_size" to {at_once * specification.micro_batches} or less'
    if specification.method.updates_at_each_step:
        return remedy
    parts = -(-batch // at_once)
    same = f'{remedy}, or "micro_batches" to {parts}: the same training, in less memory'
    return f'{same}, or "timesteps_at_once" to 1' if fewer else same
