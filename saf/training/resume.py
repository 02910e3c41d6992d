"""Where a training begins: at a checkpoint of its own, or with the weights of another training."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor

from saf.config import ResolvedSpecification
from saf.errors import UserConfigError
from saf.estimate.chunking import steps_at_once
from saf.lif.network import load_lif
from saf.model.network import SpikingNetwork
from saf.networks.finetuning import check_layers_fit, check_same_network
from saf.training import checkpoint as checkpoints
from saf.training.optimisation.range_test import is_unsure

FREE_TO_CHANGE = {
    *("name", "dataset", "priority", "metadata", "max_runtime_seconds", "devices", "conversion"),
    *("micro_batches", "timesteps_at_once", "on_out_of_memory", "automatic", "plugins"),
}
FREE_AFTER_THE_END = {"epochs", "schedule", "patience"}
"""What may change where a training that was done goes on for more epochs; with the learning rate of
the same optimizer."""

logger = logging.getLogger(__name__)


def resumed(
    path: Path | None, specification: ResolvedSpecification, data: str, steps_per_epoch: int
) -> checkpoints.Checkpoint | None:
    """The newest readable checkpoint at `path`, or None. `data` is the identity of the samples.

    Raises UserConfigError where it is one of another training. A training that was done may go on
    for more epochs; `schedule` then begins where it ended.
    """
    if path is None:
        return None
    saved, passed_over = checkpoints.newest(path)
    for problem in passed_over:
        logger.warning("a checkpoint was passed over: %s", problem)
    if saved is None:
        return None
    before, progress = saved.specification, saved.progress
    was_done = progress.ended_early or progress.step >= before.epochs * steps_per_epoch
    free = FREE_TO_CHANGE | (FREE_AFTER_THE_END if was_done else set())
    differs = [
        name
        for name in ResolvedSpecification.model_fields
        if name not in free and getattr(before, name) != getattr(specification, name)
    ]
    rate_may_differ = was_done or is_unsure(specification)
    if rate_may_differ and differs == ["optimizer"] and _differ_in_rate(before, specification):
        differs = []
    if differs or saved.dataset != data:
        what = f"another {', '.join(differs)}" if differs else "other training data"
        raise UserConfigError(
            f"the checkpoint is of a training with {what}",
            hint="resume with the specification and the data set that the training began with, "
            "or start a new one; init starts from the weights alone",
        )
    _check_epochs(specification, progress.step / steps_per_epoch)
    at_once = specification.samples_at_once
    if before.samples_at_once != at_once and progress.timesteps_at_once is not None:
        # Memory ran out: more steps are not tried again.
        progress.timesteps_at_once = steps_at_once(at_once, specification.timesteps)
    if progress.ended_early and _is_to_go_on(before, specification):
        progress.ended_early = False
    return saved


def _check_epochs(specification: ResolvedSpecification, done: float) -> None:
    """Raise UserConfigError where the epochs do not go on from those that are done."""
    if specification.epochs < done:
        raise UserConfigError(
            f"the checkpoint has {done:g} epochs behind it, and epochs is {specification.epochs}",
            hint="epochs counts all of them: give more than were done",
        )
    if specification.schedule.start_epoch > done:
        raise UserConfigError(
            f"schedule.start_epoch is {specification.schedule.start_epoch}, and the checkpoint has "
            f"{done:g} epochs behind it",
            hint="set schedule.start_epoch to the epochs that were done, or leave it out",
        )


def _is_to_go_on(before: ResolvedSpecification, specification: ResolvedSpecification) -> bool:
    """Whether more is asked of a training that ended early, and it is not only taken up again."""
    return any(getattr(before, n) != getattr(specification, n) for n in FREE_AFTER_THE_END)


def _differ_in_rate(one: ResolvedSpecification, other: ResolvedSpecification) -> bool:
    """Whether nothing but the learning rate is another in the optimizers."""
    rate = {"learning_rate": other.learning_rate}
    return one.optimizer.model_copy(update=rate) == other.optimizer


def initialise(
    network: SpikingNetwork, path: Path, specification: ResolvedSpecification
) -> list[str]:
    """Give `network`, that of `specification`, the weights in the file at `path`: those of the best
    epoch of a checkpoint, or of a `lif.safetensors` where `init` names a network.

    A readout of another shape, that of other classes, stays as it was drawn; its parameters are
    returned. Raises UserConfigError where any other layer differs, and for a damaged file.
    """
    init = specification.init
    if init is not None and init.network is not None:
        weights = _weights_of_file(network, path)
    else:
        weights = _weights_of_checkpoint(path, specification)
    return _put(network, weights)


def _weights_of_file(network: SpikingNetwork, path: Path) -> dict[str, Tensor]:
    try:
        lif = load_lif(path)
    except (ValueError, OSError) as error:
        raise UserConfigError(
            f"the network to start from cannot be read: {error}",
            hint="start from another file",
        ) from error
    check_layers_fit(lif.description.architecture, network.architecture)
    if lif.dtype == torch.float64 and network.parameter_dtype != torch.float64:
        raise UserConfigError(
            "the weights of the file are float64, and would be rounded",
            hint="set precision to float64",
        )
    return lif.tensors


def _weights_of_checkpoint(path: Path, specification: ResolvedSpecification) -> dict[str, Tensor]:
    saved, problems = checkpoints.newest(path)
    if saved is None:
        why = "; ".join(problems) or "it is not there"
        raise UserConfigError(
            f"the checkpoint to start from cannot be read: {why}",
            hint="start from another job",
        )
    check_same_network(saved.specification.network, specification.network)
    return saved.best or saved.average or saved.weights


@torch.no_grad()
def _put(network: SpikingNetwork, weights: dict[str, Tensor]) -> list[str]:
    """Give a network these weights, and return what of its readout has another shape. What neurons
    learn and the weights do not hold, as λ, begins as the settings of the neurons say."""
    readout = network.architecture.readout.name + "."
    own = dict(network.named_parameters()).keys()
    lacking = {name for name in own - weights.keys() if ".neuron." not in name}
    fresh, odd = [], sorted(lacking | (weights.keys() - own))
    for name, parameter in network.named_parameters():
        if name not in weights:
            continue
        if weights[name].shape == parameter.shape:
            parameter.copy_(weights[name])
        elif name.startswith(readout) and weights[name].shape[1:] == parameter.shape[1:]:
            fresh.append(name)
        else:
            odd.append(name)
    if odd and all(".neuron." in name for name in odd):
        raise UserConfigError(
            "the neurons of the network to start from have learned what these neurons do not "
            f"have: {', '.join(odd[:5])}",
            hint="take the neuron of the job that init names (plif, where λ is learned)",
        )
    if odd:
        raise UserConfigError(
            f"the network to start from is another one: {', '.join(odd[:5])} differ",
            hint="take the network, the input size and the channels of the job that init names",
        )
    if fresh:
        logger.info("the readout has another shape and starts anew: %s", ", ".join(fresh))
    return fresh
