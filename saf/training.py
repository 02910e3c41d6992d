"""One training from its specification to a checked LIF network, as a stream of reports.

Shapes: `N` samples, `T` steps, `C H W` channels, height, width, `K` classes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from saf import checkpoint as checkpoints
from saf import chunks, compiled, native, winograd
from saf.architecture import Architecture
from saf.augment import augment
from saf.averaging import MovingAverage
from saf.batches import Batches, Samples, generator_of, identity
from saf.checkpoint import Progress
from saf.config import JobSpecification
from saf.data.dataset import Dataset
from saf.delivery import deliver
from saf.dropout import dropout_masks
from saf.environment import (
    deterministic,
    device_name,
    environment,
    keep_threads,
    threads_put_back,
)
from saf.errors import UserConfigError
from saf.evaluation import evaluate
from saf.failures import check_not_silent, memory_explained, out_of_time, time_is_up
from saf.forecast import steps_at_once
from saf.loss import loss_function
from saf.meter import Meter
from saf.methods import method_of
from saf.microbatches import in_parts
from saf.network import Masks, network_of
from saf.networks import build
from saf.optimizers import optimizer_of
from saf.outcome import Outcome
from saf.precision import products, products_of
from saf.reports import Checkpoint, Evaluation, Report, Started
from saf.scan import by as scan_by
from saf.schedule import learning_rate
from saf.tiles import in_cpp
from saf.usage import Usage
from saf.vitals import Probe

CHECKPOINT_SECONDS = 60.0  # of training between two checkpoints, where an epoch is longer
READ_EVERY = 10  # iterations between two waits for the numbers of a GPU
FREE_TO_CHANGE = {
    *("name", "dataset", "priority", "metadata", "max_runtime_seconds", "devices", "conversion"),
    *("micro_batches", "timesteps_at_once", "on_out_of_memory"),
}
logger = logging.getLogger(__name__)


def train(
    specification: JobSpecification,
    dataset: Dataset,
    directory: Path,
    *,
    device: torch.device | str | None = None,
    resume_from: Path | None = None,
    inherited: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Report]:
    """Train, convert and check; write everything below `directory`.

    Reports: `Started`; `Step` per iteration, `Vitals` after some of them; `Epoch`, `Evaluation`
    and `Checkpoint` per epoch, and a `Checkpoint` about every minute of a long one; `Converting`;
    `Checking` about once a second; an `Artifact` for each of `lif.safetensors`, `certificate.json`,
    `report.json` and `checkpoint.safetensors`; `Finished`.

    `stop` is asked between iterations, and between the batches of the conversion's check. When it
    says True, the generator returns, without `Finished`; a checkpoint is written and reported
    before, but for a conversion, which begins anew when the training is resumed. `resume_from` is a
    checkpoint or a directory of them: the newest readable one is used, a damaged one passed over
    for the one before, and with none the training starts from the beginning; `Started.step` tells.
    On the same kind of device the weights are, bit for bit, those of the undisturbed run; on a GPU,
    if K was asked for or is in the checkpoint (`saf.chunks`). On a CPU torch has as many threads as
    the training began with, as the checkpoint says, while the generator lives.
    `inherited` says that the checkpoint is another job's: the time that this one took does not
    count against `max_runtime_seconds`.

    A checkpoint that cannot be written, as on a full disk, is left out with a warning, and the
    next one tried; when the time is up one is written before the error is raised.

    An epoch cuts the shuffled samples into batches of nearly equal size, see `Batches`. On a GPU,
    torch's deterministic algorithms are on in this process while the generator lives.

    Raises `UserConfigError`, `DivergedError`, `SilentNetworkError`, `OutOfMemoryError`,
    `TimeLimitError`, each with a hint, and OSError where `directory` cannot be written.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    architecture = _architecture(specification, dataset)
    with (
        threads_put_back(),
        deterministic(place),
        memory_explained(specification, architecture, len(dataset.x_train), place),
    ):
        yield from _train(
            specification, dataset, architecture, directory, place, resume_from, inherited, stop
        )


def _train(
    specification: JobSpecification,
    dataset: Dataset,
    architecture: Architecture,
    directory: Path,
    device: torch.device,
    resume_from: Path | None,
    inherited: bool,
    stop: Callable[[], bool],
) -> Iterator[Report]:
    seed = specification.seed
    mean, std = (values.tolist() for values in dataset.channel_statistics())
    network = network_of(specification, architecture, mean=mean, std=std).to(device)
    dtype = network.parameter_dtype
    optimizer = optimizer_of(specification.optimizer, network.parameters())
    method = in_parts(method_of(specification.method), specification.micro_batches)
    loss = loss_function(specification.loss)
    trace = getattr(specification.method, "trace_bias_and_input", True)
    train_set = Samples(dataset.x_train, dataset.y_train, device, dtype)
    test_set = Samples(dataset.x_test, dataset.y_test, device, dtype)
    batches = Batches(len(train_set), specification.batch_size, seed)
    at_once = specification.samples_at_once
    samples = min(at_once, len(train_set))
    last_step = specification.epochs * batches.per_epoch
    parameters = dict(network.named_parameters())
    data = identity(dataset.x_train, dataset.y_train)
    average = (
        MovingAverage(parameters, specification.average_decay)
        if specification.average_decay is not None
        else None
    )
    progress = _resume(resume_from, specification, data, optimizer, parameters, average)
    keep_threads(progress, device)
    scan = compiled.chosen(progress, specification, architecture, len(train_set), device)
    cpp = in_cpp(progress, specification, architecture, len(train_set), device)
    if inherited:
        progress.earlier_seconds = progress.counted_seconds()

    def batch_of(step: int) -> tuple[Tensor, Tensor, Masks]:
        x, y = train_set[batches[step]]
        if specification.augment:
            x = augment(x, specification.augment, generator_of(seed, "augment", step))
        chance = generator_of(seed, "dropout", step, network.device)
        return x, y, dropout_masks(network, len(y), chance)

    def compute(
        x: Tensor, y: Tensor, masks: Masks, update: Callable[[], None], chunk: int | None
    ) -> Outcome:
        with (
            winograd.allowed(),
            native.allowed(cpp),
            scan_by(scan),
            products(products_of(specification.precision)),
        ):
            return method(
                network,
                x,
                y,
                timesteps=specification.timesteps,
                loss=loss,
                update=update,
                trace_bias_and_input=trace,
                masks=masks,
                chunk=chunk,
            )

    def iterate_in_vain(chunk: int) -> None:
        x, y, masks = batch_of(progress.step)
        try:
            compute(x, y, masks, lambda: None, chunk)
        finally:
            optimizer.zero_grad()

    def update() -> None:
        if looking:
            probe.gradients()
        if specification.max_gradient_norm is not None:
            torch.nn.utils.clip_grad_norm_(network.parameters(), specification.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad()

    def snapshot() -> checkpoints.Checkpoint:
        return checkpoints.Checkpoint(
            specification=specification,
            dataset=data,
            progress=progress,
            weights=dict(parameters),
            average=average.weights if average is not None else {},
            optimizer=checkpoints.optimizer_buffers(optimizer, parameters),
        )

    chunk = chunks.chosen(
        progress,
        specification,
        architecture,
        samples,
        last_step,
        device,
        iterate_in_vain,
        stop=stop,
    )
    yield Started(
        step=progress.step,
        steps_total=last_step,
        steps_per_epoch=batches.per_epoch,
        parameters=architecture.parameters,
        device=device_name(device),
        environment=environment(device, specification.precision),
    )
    meter = Meter(specification, architecture, batches.per_epoch, progress, Usage(device))
    probe = Probe(network, specification.timesteps, last_step, progress)
    largest_class = float(np.bincount(dataset.y_train).max()) / len(train_set)
    saved = perf_counter()
    while progress.step < last_step:
        began = perf_counter()
        rate = learning_rate(specification, progress.step, batches.per_epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate
        x, y, masks = batch_of(progress.step)
        looking = probe.is_due()
        computing = perf_counter()
        outcome = compute(x, y, masks, update, chunk)
        progress.step += 1
        if average is not None:
            average.update(progress.step)
        progress.seconds["network"] += perf_counter() - computing
        meter.add(began, rate, outcome, y)

        epoch_ends = progress.step % batches.per_epoch == 0
        asked, overdue = stop(), perf_counter() - saved > CHECKPOINT_SECONDS
        late = False
        if device.type == "cpu" or epoch_ends or asked or overdue or meter.waiting == READ_EVERY:
            yield from meter.read()
            if looking:
                yield probe.look(network, x[:at_once], progress.step / batches.per_epoch)
            late = time_is_up(specification, progress)

        if epoch_ends:
            yield (epoch := meter.finish_epoch())
            check_not_silent(specification, progress, largest_class)
            began = perf_counter()
            shown = average.applied_to(network) if average is not None else network
            with scan_by(scan), native.allowed(cpp):
                metrics = evaluate(
                    shown, test_set, specification, loss, chunk=chunk, samples=samples
                )
            progress.seconds["evaluations"] += perf_counter() - began
            progress.history[-1] |= metrics
            yield Evaluation(step=progress.step, epoch=epoch.epoch, metrics=metrics)
        if epoch_ends or asked or overdue or late:
            began = saved = perf_counter()
            path = _saved(snapshot(), directory / "checkpoints")
            progress.seconds["checkpoints"] += perf_counter() - began
            if path is not None:
                yield Checkpoint(
                    step=progress.step, epoch=progress.step // batches.per_epoch, path=path
                )
        if late:
            raise out_of_time(specification, progress)
        if asked:
            return

    yield from deliver(
        average.applied_to(network) if average is not None else network,
        specification,
        dataset,
        test_set,
        progress,
        directory,
        timesteps_at_once=chunk,
        snapshot=snapshot,
        stop=stop,
    )


def _saved(checkpoint: checkpoints.Checkpoint, directory: Path) -> Path | None:
    try:
        return checkpoints.save(checkpoint, directory)
    except OSError as error:
        step = checkpoint.progress.step
        logger.warning("the checkpoint of step %d cannot be written: %s", step, error)
        return None


def _resume(
    path: Path | None,
    specification: JobSpecification,
    data: str,
    optimizer: torch.optim.Optimizer,
    parameters: dict[str, torch.nn.Parameter],
    average: MovingAverage | None,
) -> Progress:
    if path is None:
        return Progress()
    saved, passed_over = checkpoints.newest(path)
    for problem in passed_over:
        logger.warning("a checkpoint was passed over: %s", problem)
    if saved is None:
        return Progress()
    differs = [
        name
        for name in JobSpecification.model_fields
        if name not in FREE_TO_CHANGE
        and getattr(saved.specification, name) != getattr(specification, name)
    ]
    if differs or saved.dataset != data:
        what = f"another {', '.join(differs)}" if differs else "other training data"
        raise UserConfigError(
            f"the checkpoint is of a training with {what}",
            hint="resume with the specification and the data set that the training began with, "
            "or start a new one",
        )
    at_once, progress = specification.samples_at_once, saved.progress
    if saved.specification.samples_at_once != at_once and progress.timesteps_at_once is not None:
        # Memory ran out: more steps are not tried again.
        progress.timesteps_at_once = steps_at_once(at_once, specification.timesteps)
    checkpoints.restore(saved, optimizer, parameters)
    if average is not None:
        average.restore(saved.average)
    return saved.progress


def _architecture(specification: JobSpecification, dataset: Dataset) -> Architecture:
    frames = dataset.timesteps
    if frames is not None and frames != specification.timesteps:
        raise UserConfigError(
            f"the data set has {frames} frames a sample and timesteps is {specification.timesteps}",
            hint=f'set "timesteps" to {frames}',
        )
    if specification.conversion.grid_bits is not None and not dataset.is_bounded:
        raise UserConfigError(
            "conversion.grid_bits needs samples in [0, 1]; these event frames are floats, counts "
            "without a declared maximum, so there is no worst case to compute",
            hint='store the counts as bytes (uint8), or set "conversion.grid_bits" to null: the '
            "conversion is measured then",
        )
    try:
        return build(specification.network, dataset.sample_shape, dataset.classes)
    except ValueError as error:
        raise UserConfigError(
            str(error), hint="choose a network and a data set that fit together"
        ) from error
