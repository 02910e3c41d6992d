"""The state of a training, and what is done with it: iterate, evaluate, remember.

Shapes: `N` samples, `T` steps, `C H W` channels, height, width, `K` classes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from saf.config import ResolvedSpecification
from saf.data.dataset import Dataset
from saf.data.split import hold_out
from saf.errors import UserConfigError
from saf.kernels.backend import Backend
from saf.kernels.precision import products_of
from saf.model.batch import Batch
from saf.model.dropout import dropout_masks
from saf.model.inference import infer
from saf.model.network import SpikingNetwork, network_of
from saf.model.outcome import Outcome
from saf.networks.architecture import Architecture
from saf.networks.finetuning import trained_layers
from saf.training import checkpoint as checkpoints
from saf.training.augment import augment
from saf.training.batches import Batches, Samples, generator_of, identity
from saf.training.checkpoint import Progress
from saf.training.evaluation.classes import class_weights, count_right, shares_right
from saf.training.evaluation.evaluate import Evaluated, evaluate
from saf.training.evaluation.spike_stats import SpikeMonitor
from saf.training.first_pass import SAMPLES, fit_gains
from saf.training.hardware import backends, chunk_size
from saf.training.hardware.backends import in_cpp
from saf.training.hardware.environment import keep_threads
from saf.training.micro_batches import in_parts
from saf.training.optimisation.ema import MovingAverage
from saf.training.optimisation.loss import loss_function
from saf.training.optimisation.optimizers import optimizer_of
from saf.training.optimisation.range_test import is_to_test, is_unsure, rate_that_learns
from saf.training.optimisation.schedule import learning_rate
from saf.training.read_ahead import ReadAhead
from saf.training.resume import initialise, resumed

MOST_HALVINGS = 20  # of a threshold, in search of one at which every layer fires
logger = logging.getLogger(__name__)


class Trainer:
    """A network, its data, its optimizer, and how far the training is (`progress`)."""

    def __init__(
        self,
        specification: ResolvedSpecification,
        dataset: Dataset,
        architecture: Architecture,
        device: torch.device,
        *,
        resume_from: Path | None,
        init_from: Path | None,
    ) -> None:
        """Set everything up: draw the weights, or take them from a checkpoint.

        Raises UserConfigError where a checkpoint is not one of this training, or the weights to
        start from do not fit.
        """
        self.specification, self.architecture, self.device = specification, architecture, device
        mean, std = (values.tolist() for values in dataset.channel_statistics())
        shape = dataset.sample_shape
        self.network = network_of(specification, architecture, mean=mean, std=std, shape=shape)
        self.network.to(device)
        self._split(dataset)
        self.has_frames = dataset.timesteps is not None
        self.parameters = dict(self.network.named_parameters())
        learnt = {name: self.parameters[name] for name in self._learnt()}
        self.optimizer = optimizer_of(specification.optimizer, learnt)
        self._rule = in_parts(specification.method.rule(), specification.micro_batches)
        weights = class_weights(specification.loss, self.train_set.labels, dataset.classes)
        if weights is not None:
            weights = weights.to(device, self.network.parameter_dtype)
        self._loss = loss_function(specification.loss, weights)
        self.batches = Batches(len(self.train_set), specification.batch_size, specification.seed)
        self.samples_at_once = min(specification.samples_at_once, len(self.train_set))
        self.last_step = specification.epochs * self.batches.per_epoch
        self._read_ahead = ReadAhead(self.train_set, self.batches, self.last_step)
        self.dataset_sha256 = identity(dataset.x_train, dataset.y_train, dataset.lengths_train)
        self._average = (
            MovingAverage(self.parameters, specification.average_decay)
            if specification.average_decay is not None
            else None
        )
        self.best: dict[str, Tensor] = {}
        """The weights of the best epoch, by parameter, on the CPU; empty before there is one."""
        self.progress = Progress()
        saved = resumed(resume_from, specification, self.dataset_sha256, self.batches.per_epoch)
        if saved is not None:
            self.progress, self.best = saved.progress, saved.best
            checkpoints.restore(saved, self.optimizer, self.parameters)
            if is_unsure(specification):  # its rate was tested before the first iteration
                self._take_rate(saved.specification.learning_rate)
            if self._average is not None:
                self._average.restore(saved.average)
        keep_threads(self.progress, device)
        if saved is None:
            self._begin(init_from)
        samples = len(self.train_set)
        given = (self.progress, specification, architecture, samples, device)
        self._backend = Backend(
            scan=backends.chosen(*given),
            native=in_cpp(*given),
            products=products_of(specification.precision),
        )
        self.chunk: int | None = None
        self._looking = False
        self.spike_monitor = SpikeMonitor(
            self.network, specification.timesteps, self.last_step, self.progress
        )

    def _split(self, dataset: Dataset) -> None:
        """Divide the training samples into those to learn from and those for validation."""
        device, dtype = self.device, self.network.parameter_dtype
        share, seed = self.specification.validation_share, self.specification.seed
        unit = dataset.unit
        of_train = dataset.lengths_train
        every = Samples(dataset.x_train, dataset.y_train, device, dtype, unit, of_train)
        if dataset.x_val is not None:
            share = 0.0  # samples that would be held out would be used for nothing
        held_out = torch.from_numpy(hold_out(dataset.y_train, share, seed=seed))
        self.train_set = every.subset((~held_out).nonzero()[:, 0])
        self.val_set = every.subset(held_out.nonzero()[:, 0])
        if dataset.x_val is not None and dataset.y_val is not None:
            of_val = dataset.lengths_val
            self.val_set = Samples(dataset.x_val, dataset.y_val, device, dtype, unit, of_val)
        of_test = dataset.lengths_test
        self.test_set = Samples(dataset.x_test, dataset.y_test, device, dtype, unit, of_test)

    def _learnt(self) -> list[str]:
        """Names of the parameters that are trained; the others need no gradient."""
        learnt = self.learns(self.parameters)
        for name, parameter in self.parameters.items():
            parameter.requires_grad_(name in learnt)
        return learnt

    def learns(self, parameters: Mapping[str, torch.nn.Parameter]) -> list[str]:
        """Names of those `parameters` of a network with these layers that are trained."""
        init = self.specification.init
        layers = trained_layers(self.architecture, init.freeze if init is not None else ())
        return [name for name in parameters if name.partition(".")[0] in layers]

    def _begin(self, init_from: Path | None) -> None:
        """The first weights: those of another training, or drawn and fitted to the data."""
        specification = self.specification
        if (done := specification.schedule.start_epoch) > 0:
            raise UserConfigError(
                f"schedule.start_epoch says that {done} epochs were done before, and there is no "
                "checkpoint of them",
                hint="give the checkpoint of the training that goes on (saf continue JOB, "
                "saf train --out FOLDER), or leave schedule.start_epoch out",
            )
        if specification.init is not None:
            if init_from is None:
                raise UserConfigError(
                    f"init names {specification.init.source}, and there is no file of it",
                    hint="give its file as init_from (saf train --init FILE)",
                )
            initialise(self.network, init_from, specification)
        elif specification.network.gain == "auto":
            generator = generator_of(specification.seed, "first pass", 0)
            shown = torch.randperm(len(self.train_set), generator=generator)[:SAMPLES]
            x = self._without_padding(shown)
            self.progress.gains = fit_gains(self.network, x, specification.timesteps)
        if self._average is not None:
            self._average.restore({n: p.detach() for n, p in self.parameters.items()})

    def _without_padding(self, rows: Tensor) -> Tensor:
        """Training samples to look at, at all T time steps."""
        x, _ = self.train_set[rows]
        lengths = self.train_set.lengths_of(rows)
        return x if lengths is None else lengths.again(x)

    @property
    def is_done(self) -> bool:
        """Whether the last epoch is done, or the training ended early (`patience`)."""
        return self.progress.step >= self.last_step or self.progress.ended_early

    @property
    def epoch_ends(self) -> bool:
        """Whether the iterations so far make up whole epochs."""
        return self.progress.step % self.batches.per_epoch == 0

    def choose_chunk(self, stop: Callable[[], bool]) -> None:
        """Choose K, the time steps that are computed at once; on a GPU it may be measured."""

        def iterate_in_vain(chunk: int) -> None:
            try:
                batch = self._batch(self.progress.step)
                self._compute(replace(batch, update=lambda: None, chunk=chunk))
            finally:
                self.optimizer.zero_grad()

        self.chunk = chunk_size.chosen(
            self.progress,
            self.specification,
            self.architecture,
            self.samples_at_once,
            self.last_step,
            self.device,
            iterate_in_vain,
            in_time=self.specification.input.changes(self.has_frames),
            stop=stop,
        )

    def choose_rate(self) -> None:
        """Test the learning rate before the first iteration where its rule is unsure, and put what
        was found into the specification that is recorded."""
        if self.progress.step or not is_to_test(self.specification):
            return
        self._take_rate(rate_that_learns(self.specification.learning_rate, self._losses_in_vain))

    def _take_rate(self, rate: float) -> None:
        optimizer = self.specification.optimizer.model_copy(update={"learning_rate": rate})
        self.specification = self.specification.model_copy(update={"optimizer": optimizer})

    def _losses_in_vain(self, rate: float, iterations: int) -> list[float]:
        """The losses of the first iterations at a constant rate, of which nothing stays."""
        before = {name: p.detach().clone() for name, p in self.parameters.items()}
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        try:
            steps = range(min(iterations, self.last_step))
            found = [self._compute(self._batch(step)).loss for step in steps]
            return torch.stack(found).tolist()
        finally:
            checkpoints.put(before, self.parameters)
            self.optimizer.zero_grad()
            self.optimizer.state.clear()

    def iterate(self) -> tuple[Outcome, Batch, float]:
        """Learn from the next batch: what came out, the batch, and the rate."""
        progress = self.progress
        rate = learning_rate(self.specification, progress.step, self.batches.per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = self._batch(progress.step)
        self._read_ahead.after(progress.step)
        self._looking = self.spike_monitor.is_due()
        computing = perf_counter()
        outcome = self._compute(batch)
        progress.step += 1
        if self._average is not None:
            self._average.update(progress.step)
        progress.seconds["network"] += perf_counter() - computing
        return outcome, batch, rate

    @property
    def is_looked_at(self) -> bool:
        """Whether the last iteration is one of those whose spike statistics are taken."""
        return self._looking

    def _batch(self, step: int) -> Batch:
        return self._prepared(self.batches[step], step)

    def _prepared(self, rows: Tensor, step: int) -> Batch:
        """Training samples with what is random about an iteration."""
        specification = self.specification
        x, y = self.train_set[rows]
        if specification.augment:
            generator = generator_of(specification.seed, "augment", step)
            x = augment(x, specification.augment, generator)
        chance = generator_of(specification.seed, "dropout", step, self.network.device)
        return Batch(
            x=x,
            y=y,
            timesteps=specification.timesteps,
            loss=self._loss,
            update=self._update,
            masks=dropout_masks(self.network, len(y), chance),
            chunk=self.chunk,
            lengths=self.train_set.lengths_of(rows),
        )

    def learn_from(
        self, rows: Tensor, step: int, network: SpikingNetwork, update: Callable[[], None]
    ) -> Outcome:
        """Let `network`, which has the layers of the trained one, learn from training samples by
        the method of the job; `update` is called when its gradients are there."""
        batch = self._prepared(rows, self.progress.step + step)
        return self._compute(replace(batch, update=update), network)

    def _compute(self, batch: Batch, network: SpikingNetwork | None = None) -> Outcome:
        with self._backend.entered():
            return self._rule(self.network if network is None else network, batch)

    def _update(self) -> None:
        if self._looking:
            self.spike_monitor.keep_gradients()
        if self.specification.max_gradient_norm is not None:
            torch.nn.utils.clip_grad_norm_(
                self.network.parameters(), self.specification.max_gradient_norm
            )
        self.optimizer.step()
        self.optimizer.zero_grad()

    def evaluated(self, network: SpikingNetwork, samples: Samples, what: str) -> Evaluated:
        """`network` on samples that it does not learn from; `what` they are, for an error."""
        with self._backend.entered():
            return evaluate(
                network,
                samples,
                self.specification,
                self._loss,
                what=what,
                chunk=self.chunk,
                samples=self.samples_at_once,
            )

    @property
    def is_balanced(self) -> bool:
        """Whether networks are chosen by the mean of the accuracies of all classes."""
        return self.specification.loss.class_weights == "balanced"

    def metrics_of(self, network: SpikingNetwork, samples: Samples) -> dict[str, float]:
        """What `network` is worth on `samples`, by the names that those of validation have."""
        found, labels = self.evaluated(network, samples, "validation"), samples.labels
        return {
            "val_loss": found.loss,
            "val_accuracy": count_right(found.predicted, labels) / len(labels),
            "val_balanced_accuracy": shares_right(found.predicted, labels, network.classes).mean,
        }

    def validate(self) -> dict[str, float]:
        """Metrics of the validation samples after an epoch, which is remembered if it is the best;
        none without such samples."""
        if not len(self.val_set):
            return {}
        began = perf_counter()
        metrics = self.metrics_of(self.shown(), self.val_set)
        progress = self.progress
        progress.history[-1] |= metrics
        if progress.note_best(self.is_balanced):
            weights = self.shown().named_parameters()
            self.best = {name: w.detach().to("cpu", copy=True) for name, w in weights}
        patience = self.specification.patience
        # A training that goes on after its end waits anew.
        since = max(progress.best_epoch, self.specification.schedule.start_epoch)
        waited = len(progress.history) - since
        early = progress.step < self.last_step
        progress.ended_early = early and patience is not None and waited >= patience
        progress.seconds["evaluations"] += perf_counter() - began
        return metrics

    def shown(self) -> SpikingNetwork:
        """The network that is evaluated: with the average of its weights, where there is one."""
        return self.network if self._average is None else self._average.applied_to(self.network)

    def delivered(self) -> SpikingNetwork:
        """The network that is tested and converted: that of the best epoch, or the last one."""
        network = self.shown()
        if self.specification.conversion.weights == "best" and self.best:
            network = network.with_weights(self.best)
        return network

    def delivered_accuracy(self) -> float | None:
        """Accuracy of that network on the validation samples; None without such samples."""
        epoch = self.progress.delivered_epoch(self.specification.conversion.weights)
        return self.progress.history[epoch - 1].get("val_accuracy")

    def firing_threshold(self) -> float | None:
        """A threshold below that of the job at which every layer fires on some of the samples that
        the network learns from: the first that does of a series, each half of the one before."""
        x = self._without_padding(torch.arange(min(SAMPLES, len(self.train_set))))
        network, steps = self.shown(), self.specification.timesteps
        for halvings in range(1, MOST_HALVINGS + 1):
            threshold = float(f"{network.neuron.threshold / 2**halvings:.2g}")
            if infer(
                network.with_threshold(threshold), x, steps, readout="mean"
            ).firing_rates.all():
                return threshold
        return None

    def snapshot(self) -> checkpoints.Checkpoint:
        """All that the training needs to go on."""
        return checkpoints.Checkpoint(
            specification=self.specification,
            dataset=self.dataset_sha256,
            progress=self.progress,
            weights=dict(self.parameters),
            average=self._average.weights if self._average is not None else {},
            best=self.best,
            optimizer=checkpoints.optimizer_buffers(self.optimizer, self.parameters),
        )
