"""Weights of few bits after a training: quantised, and trained a little further as they are.

Each iteration computes with the quantised weights, by the method of the job, and its gradient
changes weights in full precision behind them (the straight-through estimator; Bengio et al., arXiv
1308.3432), of which the next quantised ones are made.

Shapes: `B` samples.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from math import cos, pi
from typing import Any, NamedTuple

import torch
from torch import Tensor

from saf import config
from saf.config import Neuron
from saf.lif.convert import convert, effective_weights, fold, on_grid
from saf.lif.grid.exactness import bounds
from saf.lif.grid.few_bits import exponents_of, grid_of, put_quantised
from saf.lif.network import LIFNetwork
from saf.model.network import SpikingNetwork
from saf.networks.architecture import Architecture
from saf.neurons.models.lif import LeakyIntegrateAndFire
from saf.powers import nearest_power
from saf.training.batches import Batches
from saf.training.checkpoint import merit
from saf.training.events import Converting, Report
from saf.training.optimisation.optimizers import optimizer_of
from saf.training.read_ahead import ReadAhead
from saf.training.trainer import Trainer

SHARE_OF_RATE = 0.25  # of the learning rate of the training, at the start


class Quantised(NamedTuple):
    """A network of plain weights of few bits, and how it came about, as JSON values."""

    network: SpikingNetwork
    grid_bits: int
    facts: dict[str, Any]
    val_accuracy: float | None
    """Of the validation samples; None where there are none."""


def quantise(
    trainer: Trainer, network: SpikingNetwork, stop: Callable[[], bool]
) -> Generator[Report, None, Quantised | None]:
    """Give the weights of `network` few bits, as `conversion` of the job asks for; None where
    `stop` said so. The exponents are those of the trained weights, the finest with which the proof
    of exactness holds for these."""
    conversion = trainer.specification.conversion
    bits = conversion.weight_bits
    assert bits is not None
    plain = plain_network(network)
    values = {name: p.detach().clone() for name, p in plain.named_parameters()}
    most = config.MOST_GRID_BITS
    while True:
        exponents = exponents_of(plain, bits, conversion.weight_scale, most)
        put_quantised(plain, values, exponents, bits)
        k = grid_of(exponents)
        if k == 1 or all(bound.within for bound in bounds(_on_grid(plain, trainer, k))):
            break
        most = k - 1
        torch.nn.Module.load_state_dict(plain, values, strict=False)
    # The factors of connections without weights are rounded with the grid.
    plain = plain_network(plain, _on_grid(plain, trainer, k).description.architecture)
    samples = trainer.val_set if len(trainer.val_set) else trainer.train_set
    found = [trainer.metrics_of(plain, samples)]
    best, at = {n: p.detach().clone() for n, p in plain.named_parameters()}, 0
    learner = _Learner(trainer, plain, values, exponents, bits)
    for epoch in range(1, conversion.fine_tune_epochs + 1):
        for step in range(learner.batches.per_epoch):
            if stop():
                return None
            learner.iterate((epoch - 1) * learner.batches.per_epoch + step)
        yield Converting(step=trainer.progress.step)
        found.append(trainer.metrics_of(plain, samples))
        if merit(found[-1], trainer.is_balanced) > merit(found[at], trainer.is_balanced):
            best, at = {n: p.detach().clone() for n, p in plain.named_parameters()}, epoch
    torch.nn.Module.load_state_dict(plain, best, strict=False)
    facts = {
        "weight_bits": bits,
        "scale": conversion.weight_scale,
        "exponents": {name: [int(each.min()), int(each.max())] for name, each in exponents.items()},
        "fine_tune_epochs": conversion.fine_tune_epochs,
        "delivered_epoch": at,
        "accuracy_before": trainer.metrics_of(network, samples)["val_accuracy"],
        "accuracy_after_epoch": [metrics["val_accuracy"] for metrics in found],
        "balanced_accuracy_after_epoch": [metrics["val_balanced_accuracy"] for metrics in found],
        "loss_after_epoch": [metrics["val_loss"] for metrics in found],
        "chosen_by": "validation" if samples is trainer.val_set else "training",
    }
    chosen = found[at]["val_accuracy"] if samples is trainer.val_set else None
    return Quantised(plain, k, facts, chosen)


def plain_network(
    network: SpikingNetwork, architecture: Architecture | None = None
) -> SpikingNetwork:
    """`network` with plain weights: standardisation, gains and constants folded into them; a λ that
    was learned is the nearest power of two. With `architecture` it has that one, which is the same
    but for factors."""
    folded, weights = fold(network.architecture, effective_weights(network))
    plain = SpikingNetwork(
        architecture or folded,
        _neurons_on_grid(network),
        mean=network.mean.flatten().tolist(),
        std=network.std.flatten().tolist(),
        seed=0,
        compute_dtype=network.compute_dtype,
        timesteps=network.timesteps,
        readout=network.readout_kind,
        encoding=network.encoding,
        image=network.image,
    ).to(network.device, network.parameter_dtype)
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            parameter.copy_(weights[name])
    return plain


def _neurons_on_grid(network: SpikingNetwork) -> Neuron:
    """Settings of the neurons that the delivered network has."""
    of = network.neuron
    if not of.learns_decay:
        return of
    decays = [nearest_power(layer.decay) for layer in network.layers if layer.neuron is not None]
    return LeakyIntegrateAndFire(
        decay=of.decay,
        decays=tuple(decays),
        threshold=of.threshold,
        surrogate=of.surrogate,
        dropout=of.dropout,
    )


def _on_grid(plain: SpikingNetwork, trainer: Trainer, k: int) -> LIFNetwork:
    lif = convert(
        plain,
        trainer.specification,
        class_names=[str(n) for n in range(plain.classes)],
        frames=trainer.has_frames,
    )
    return on_grid(lif, k)


class _Learner:
    """Iterations on the grid."""

    def __init__(
        self,
        trainer: Trainer,
        plain: SpikingNetwork,
        values: dict[str, Tensor],
        exponents: dict[str, Tensor],
        bits: int,
    ) -> None:
        specification = trainer.specification
        self._trainer, self._plain, self._exponents, self._bits = trainer, plain, exponents, bits
        self._behind = {n: torch.nn.Parameter(v.clone()) for n, v in values.items()}
        learnt = trainer.learns(dict(plain.named_parameters()))
        for name, parameter in plain.named_parameters():
            parameter.requires_grad_(name in learnt)
        self._learnt = [(self._behind[n], plain.get_parameter(n)) for n in learnt]
        self._rate = SHARE_OF_RATE * specification.learning_rate
        self._optimizer = optimizer_of(
            specification.optimizer, {name: self._behind[name] for name in learnt}
        )
        self.batches = Batches(
            len(trainer.train_set), specification.batch_size, specification.seed + 1
        )
        self._steps = specification.conversion.fine_tune_epochs * self.batches.per_epoch
        self._read_ahead = ReadAhead(trainer.train_set, self.batches, self._steps)

    def iterate(self, step: int) -> None:
        """Learn from one batch; the rate falls to zero by a cosine."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * (1.0 + cos(pi * step / self._steps)) / 2.0
        self._read_ahead.after(step - 1)
        self._trainer.learn_from(self.batches[step], step, self._plain, self._update)

    def _update(self) -> None:
        for behind, seen in self._learnt:
            behind.grad, seen.grad = seen.grad, None
        norm = self._trainer.specification.max_gradient_norm
        if norm is not None:
            torch.nn.utils.clip_grad_norm_([behind for behind, _ in self._learnt], norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        values = {name: value.detach() for name, value in self._behind.items()}
        put_quantised(self._plain, values, self._exponents, self._bits)
