"""One training from its specification to a checked LIF network, as a stream of reports."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import torch

from saf.config import JobSpecification, ResolvedSpecification
from saf.config.automatic import DataFacts, resolve
from saf.config.samples import Samples, misfits
from saf.data.dataset import Dataset
from saf.data.findings import refuse
from saf.errors import UserConfigError
from saf.networks.architecture import Architecture
from saf.networks.build import build_for
from saf.networks.fitted import fitted
from saf.training import checkpoint as checkpoints
from saf.training.delivery import deliver
from saf.training.evaluation.assessment import assess
from saf.training.evaluation.metrics import Meter
from saf.training.events import Checkpoint, Evaluation, Report, Started
from saf.training.failures import (
    check_not_diverged,
    check_not_silent,
    memory_explained,
    out_of_time,
    time_is_up,
)
from saf.training.hardware.device_usage import Usage
from saf.training.hardware.environment import (
    deterministic,
    device_name,
    environment,
    threads_put_back,
)
from saf.training.quantisation import quantise
from saf.training.trainer import Trainer

CHECKPOINT_SECONDS = 60.0  # of training between two checkpoints, where an epoch is longer
READ_EVERY = 10  # iterations between two waits for the numbers of a GPU
logger = logging.getLogger(__name__)


def train(
    specification: JobSpecification,
    dataset: Dataset,
    directory: Path | str,
    *,
    device: torch.device | str | None = None,
    resume_from: Path | str | None = None,
    init_from: Path | str | None = None,
    inherited: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Report]:
    """Train, convert and check; write everything below `directory`.

    Automatic settings become numbers first, by the rules of `saf.config.automatic`.

    Reports: `Started`; `Step` per iteration, `SpikeStatistics` after some of them; `Epoch`,
    `Evaluation` on the validation samples and `Checkpoint` per epoch, and a `Checkpoint` about
    every minute of a long one; `Evaluation` on the test samples, once, of the network that is
    delivered; `Converting`; `Checking` about once a second; an `Artifact` for each of
    `lif.safetensors`, `certificate.json`, `report.json` and `checkpoint.safetensors`; `Finished`.

    `stop` is asked between iterations, and between the batches of the conversion's check. When it
    says True, the generator returns, without `Finished`; a checkpoint is written and reported
    before, but for a conversion, which begins anew when the training is resumed. `resume_from` is a
    checkpoint or a directory of them: the newest readable one is used, a damaged one passed over
    for the one before, and with none the training starts from the beginning; `Started.step` tells.
    On the same kind of device the weights are, bit for bit, those of the undisturbed run; on a GPU,
    if K was asked for or is in the checkpoint (`saf.training.hardware.chunk_size`). On a CPU torch
    has as many threads as the training began with, as the checkpoint says, while the generator
    lives. A checkpoint of a training that is done goes on for more epochs, if `specification` has
    more. `init_from` is the checkpoint of the job that `specification.init` names, or a directory
    of them. `inherited` says that the checkpoint is another job's: the time that this one took does
    not count against `max_runtime_seconds`.

    A checkpoint that cannot be written, as on a full disk, is left out with a warning, and the
    next one tried; when the time is up one is written before the error is raised.

    An epoch cuts the shuffled samples into batches of nearly equal size, see `Batches`. On a GPU,
    torch's deterministic algorithms are on in this process while the generator lives.

    Raises `UserConfigError`, `DataError`, `DivergedError`, `SilentNetworkError`,
    `OutOfMemoryError`, `TimeLimitError`, each with a hint, and OSError where `directory` cannot be
    written.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    refuse(dataset)
    samples = _checked_samples(specification, dataset)
    specification = fitted(specification, samples, dataset.classes)
    validation = 0 if dataset.y_val is None else len(dataset.y_val)
    facts = DataFacts(len(dataset.y_train), validation, samples.steps(specification))
    try:
        resolved = resolve(specification, facts)
    except ValueError as error:
        raise UserConfigError(str(error), hint="change one of the two settings") from error
    architecture = _architecture(resolved, dataset)
    with (
        threads_put_back(),
        deterministic(place),
        memory_explained(
            *(resolved, architecture, len(dataset.x_train), place),
            in_time=dataset.timesteps is not None,
        ),
    ):
        trainer = Trainer(
            resolved,
            dataset,
            architecture,
            place,
            resume_from=None if resume_from is None else Path(resume_from),
            init_from=None if init_from is None else Path(init_from),
        )
        if inherited:
            trainer.progress.earlier_seconds = trainer.progress.counted_seconds()
        yield from _train(trainer, dataset, Path(directory), stop)


def _train(
    trainer: Trainer, dataset: Dataset, directory: Path, stop: Callable[[], bool]
) -> Iterator[Report]:
    trainer.choose_chunk(stop)
    trainer.choose_rate()
    specification, progress, device = trainer.specification, trainer.progress, trainer.device
    per_epoch = trainer.batches.per_epoch
    yield Started(
        step=progress.step,
        steps_total=trainer.last_step,
        steps_per_epoch=per_epoch,
        parameters=trainer.architecture.parameters,
        device=device_name(device),
        environment=environment(device, specification.precision),
    )
    meter = Meter(specification, trainer.architecture, per_epoch, progress, Usage(device))
    counts = trainer.train_set.labels.bincount()
    largest_class = float(counts.max()) / len(trainer.train_set)
    saved = perf_counter()
    while not trainer.is_done:
        began = perf_counter()
        outcome, batch, rate = trainer.iterate()
        meter.add(began, rate, outcome, batch)

        epoch_ends = trainer.epoch_ends
        asked, overdue = stop(), perf_counter() - saved > CHECKPOINT_SECONDS
        late = False
        if device.type == "cpu" or epoch_ends or asked or overdue or meter.waiting == READ_EVERY:
            yield from meter.read()
            if trainer.is_looked_at:
                shown = batch.x[: trainer.samples_at_once]
                yield trainer.spike_monitor.measure(
                    trainer.network, shown, progress.step / per_epoch, batch.lengths
                )
            late = time_is_up(specification, progress)

        if epoch_ends:
            yield (epoch := meter.finish_epoch())
            check_not_diverged(specification, progress, dataset.classes)
            check_not_silent(specification, progress, largest_class, trainer.firing_threshold)
            if metrics := trainer.validate():
                best = progress.history[progress.best_epoch - 1]["val_accuracy"]
                yield Evaluation(
                    step=progress.step, epoch=epoch.epoch, metrics=metrics, best_accuracy=best
                )
        if epoch_ends or asked or overdue or late:
            began = saved = perf_counter()
            path = _saved(trainer.snapshot(), directory / "checkpoints")
            progress.seconds["checkpoints"] += perf_counter() - began
            if path is not None:
                yield Checkpoint(step=progress.step, epoch=progress.step // per_epoch, path=path)
        if late:
            raise out_of_time(specification, progress)
        if asked:
            return

    trained, few_bits = trainer.delivered(), None
    if specification.conversion.weight_bits is not None:
        began = perf_counter()
        few_bits = yield from quantise(trainer, trained, stop)
        if few_bits is None:
            return
        progress.seconds["conversion"] += perf_counter() - began
    began = perf_counter()
    network = trained if few_bits is None else few_bits.network
    assessment = assess(
        trainer,
        network,
        dataset,
        val_accuracy=trainer.delivered_accuracy() if few_bits is None else few_bits.val_accuracy,
        rounded=few_bits is not None,
    )
    progress.seconds["evaluations"] += perf_counter() - began
    yield Evaluation(
        step=progress.step, epoch=len(progress.history), metrics=dict(assessment.metrics)
    )
    yield from deliver(
        trained,
        specification,
        dataset,
        trainer.test_set,
        progress,
        directory,
        dataset_sha256=trainer.dataset_sha256,
        assessment=assessment,
        selection=trainer.val_set if len(trainer.val_set) else trainer.train_set,
        timesteps_at_once=trainer.chunk,
        snapshot=trainer.snapshot,
        stop=stop,
        few_bits=few_bits,
    )


def _saved(checkpoint: checkpoints.Checkpoint, directory: Path) -> Path | None:
    try:
        return checkpoints.save(checkpoint, directory)
    except OSError as error:
        step = checkpoint.progress.step
        logger.warning("the checkpoint of step %d cannot be written: %s", step, error)
        return None


def _checked_samples(specification: JobSpecification, dataset: Dataset) -> Samples:
    """Facts of the samples. Raises UserConfigError where they do not fit `specification`."""
    samples = Samples("the data set", **dataset.facts())
    for misfit in misfits(specification, samples):
        raise UserConfigError(misfit.message, hint=misfit.remedy)
    return samples


def _architecture(specification: ResolvedSpecification, dataset: Dataset) -> Architecture:
    in_time = dataset.timesteps is not None
    try:
        return build_for(specification, dataset.sample_shape, dataset.classes, in_time=in_time)
    except ValueError as error:
        raise UserConfigError(
            str(error), hint="choose a network and a data set that fit together"
        ) from error
