"""Findings about a training that came to its end: what is wrong with it, each with a remedy.

A finding does not end a job. It stands first wherever the job is shown, before its accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from saf.config import ResolvedSpecification
from saf.data.baseline import Baselines
from saf.data.chance import p_value
from saf.data.findings import Finding
from saf.training.checkpoint import Progress
from saf.training.optimisation.loss import loss_of_no_answer

SIGNIFICANT = 0.01  # probability below which an accuracy is not put down to chance
SATURATED = 0.9  # spikes per neuron and step
ROSE = 1.05  # times the loss before the first update
HALF_GONE = 0.5  # of the best validation accuracy, that the last epoch has lost


class Tested(NamedTuple):
    """Results of the delivered network on the test samples."""

    correct: int
    samples: int
    balanced_accuracy: float
    by_luck: float  # accuracy to be expected of the same answers in a random order
    classes: int  # of the data set
    firing_rates: dict[str, float]  # spikes per neuron and step, of each layer
    in_time: bool = False  # whether samples change with time


def findings(
    specification: ResolvedSpecification,
    progress: Progress,
    tested: Tested,
    without: Baselines,
) -> list[Finding]:
    """What is wrong with a training, the most important first; `without` is what is had without a
    network."""
    return [
        *_of_chance(specification, tested, without),
        *_of_loss(specification, progress, tested.classes),
        *_of_layers(specification, tested.firing_rates),
        *_of_classes(specification, tested, without.most_frequent),
        *_of_validation(specification, progress),
    ]


def of_certificate(certificate: Mapping[str, Any]) -> list[Finding]:
    """The finding that the delivered network is not what was trained, where its certificate says
    so."""
    if certificate["verdict"] != "differs":
        return []
    check, grid = certificate["checks"][0], certificate["grid"]
    rounding = grid and grid.get("rounding")
    before = rounding["accuracy_as_trained"] if rounding else check["accuracy_saf"]
    on_grid = grid is not None and grid["bits"] is not None
    return [
        Finding(
            "conversion_differs",
            f"the network that is delivered is not what was trained: its accuracy is "
            f"{check['accuracy_lif']:.2%} and was {before:.2%}",
            'take more conversion.grid_bits, or "auto", or null for no rounding; of '
            "conversion.weight_bits more, or more conversion.fine_tune_epochs"
            if on_grid
            else "train in float32, or with a λ that is a power of two",
        )
    ]


def _of_chance(
    specification: ResolvedSpecification, tested: Tested, without: Baselines
) -> Iterator[Finding]:
    accuracy, most_frequent = tested.correct / tested.samples, without.most_frequent
    said = (
        f"the accuracy is {accuracy:.2%} on {tested.samples} test samples, and naming the most "
        f"frequent class gives {most_frequent:.2%}"
    )
    if tested.by_luck > most_frequent:
        # Classes are not as frequent among the test samples as among those of the training.
        said += f", these very answers in any other order {tested.by_luck:.2%}"
    luck = max(most_frequent, tested.by_luck)
    remedy = f"{_earlier_steps(specification, tested)}another learning rate, more epochs or "
    if accuracy <= luck:
        yield Finding(
            "at_chance",
            f"the network is no better than no network: {said}",
            f"check that labels and samples belong together; then try {remedy}another network",
        )
    elif (p := p_value(tested.correct, tested.samples, luck)) > SIGNIFICANT:
        yield Finding(
            "chance_not_excluded",
            f"{said}: with so few samples that can be chance (p = {p:.2g})",
            "test on more samples before relying on the network",
        )
    if without.linear is not None and accuracy < without.linear:
        misses = tested.samples - tested.correct
        if p_value(misses, tested.samples, 1.0 - without.linear) <= SIGNIFICANT:
            yield Finding(
                "below_linear",
                f"a linear classifier of the samples reaches {without.linear:.2%}, and the network "
                f"{accuracy:.2%}",
                f"try {remedy}a larger network",
            )


def _earlier_steps(specification: ResolvedSpecification, tested: Tested) -> str:
    """The first of the remedies, where samples change with time and the loss sees the λ-weighted
    mean of the time steps; else nothing."""
    method = specification.method
    if not tested.in_time or method.loss_at_each_step or specification.neuron.decay == 1:
        return ""
    return f"the method saf-e (by {method.name} the last few time steps count most), "


def _of_loss(
    specification: ResolvedSpecification, progress: Progress, classes: int
) -> Iterator[Finding]:
    start, last = progress.initial_loss, progress.history[-1]["train_loss"]
    if start is not None and specification.init is not None:
        # Good weights begin near 0, where one batch is far above another: an epoch is compared.
        unlearnt = loss_of_no_answer(specification.loss, classes)
        start = max(start, min(progress.history[0]["train_loss"], unlearnt))
    if start is not None and last > ROSE * start:
        rate = specification.learning_rate
        yield Finding(
            "loss_rose",
            f"the training loss ended at {last:.3g}, above the {start:.3g} that it began with",
            f"lower the learning rate (it is {rate:g}; try {rate / 10:g})",
        )


def _of_layers(specification: ResolvedSpecification, rates: dict[str, float]) -> Iterator[Finding]:
    silent = [name for name, rate in rates.items() if rate == 0.0]
    if silent:
        rate = specification.learning_rate
        yield Finding(
            "silent_layers",
            f"{_listed(silent)} did not fire once on the test samples",
            f"they do nothing: lower the learning rate (it is {rate:g}; try {rate / 10:g}), or "
            "take a smaller network",
        )
    saturated = [name for name, rate in rates.items() if rate >= SATURATED]
    if saturated:
        yield Finding(
            "saturated_layers",
            f"{_listed(saturated)} fired at {SATURATED:.0%} of all time steps or more",
            "neurons that always fire say nothing: raise neuron.threshold (it is "
            f"{specification.neuron.threshold:g}), lower network.gain, or lower the learning rate",
        )


def _of_classes(
    specification: ResolvedSpecification, tested: Tested, most_frequent: float
) -> Iterator[Finding]:
    accuracy = tested.correct / tested.samples
    if accuracy - tested.balanced_accuracy > 0.2 and most_frequent > 0.5:
        remedy = (
            "get more samples of the rare classes"
            if specification.loss.class_weights == "balanced"
            else 'set loss.class_weights to "balanced"'
        )
        yield Finding(
            "rare_classes_ignored",
            f"the accuracy is {accuracy:.2%}, and over the classes alike only "
            f"{tested.balanced_accuracy:.2%}: rare classes are mostly missed",
            remedy,
        )


def _of_validation(specification: ResolvedSpecification, progress: Progress) -> Iterator[Finding]:
    if not progress.best_epoch:
        if specification.validation_share:  # who asks for none is told so, and not warned
            yield Finding(
                "no_validation",
                "no samples could be kept for validation: the last weights were taken, whatever "
                "they are",
                "give more than one sample of each class, or set validation_share to 0",
            )
        return
    best = progress.history[progress.best_epoch - 1]["val_accuracy"]
    last = progress.history[-1].get("val_accuracy")  # none where the samples are no longer there
    if last is not None and last < HALF_GONE * best:
        yield Finding(
            "collapsed_after_the_best_epoch",
            f"the validation accuracy fell from {best:.2%} in epoch {progress.best_epoch} to "
            f"{last:.2%} in the last one",
            "lower the learning rate, or set patience so that the training ends early",
        )


def _listed(names: list[str], most: int = 4) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more layers"
