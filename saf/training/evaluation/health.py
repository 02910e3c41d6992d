"""Findings about a training that came to its end: what is wrong with it, each with a remedy.

A finding does not end a job. It stands first wherever the job is shown, before its accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from saf.config import Conversion, ResolvedSpecification
from saf.config.conversion import MOST_WEIGHT_BITS
from saf.data.baseline import Baselines
from saf.data.chance import p_of_difference, p_value
from saf.data.findings import Finding
from saf.training.checkpoint import Progress
from saf.training.evaluation.remedies import learn_more, lower_rate
from saf.training.optimisation.loss import loss_of_no_answer

SIGNIFICANT = 0.01  # probability below which an accuracy is not put down to chance
SATURATED = 0.9  # spikes per neuron and step
ROSE = 1.05  # times the loss before the first update
APART = 0.2  # between the accuracies on samples for testing and for validation
HIDDEN = 0.2  # of the accuracy, which is that much above the mean of the classes
BY_HEART = 0.95  # of the training samples; who has so many right learns no more of them
HARDLY = 0.2  # of the way from luck to all samples right
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
    against_linear: tuple[int, int] = (0, 0)  # samples that it alone has right, and linear alone
    linear_balanced: float | None = None  # balanced accuracy of the linear classifier
    val_accuracy: float | None = None  # of the same network; None without validation samples
    val_samples: int = 0

    @property
    def accuracy(self) -> float:
        """The share of the test samples that is right."""
        return self.correct / self.samples


def findings(
    specification: ResolvedSpecification,
    progress: Progress,
    tested: Tested,
    without: Baselines,
) -> list[Finding]:
    """What is wrong with a training, the most important first; `without` is what is had without a
    network."""
    unlike = [*_of_other_samples(specification, progress, tested)]
    # A network that is right on other samples has learnt: training it further is no remedy.
    learnt = any(tested.val_accuracy > tested.accuracy for _ in unlike if tested.val_accuracy)
    return [
        *unlike,
        *_of_chance(specification, progress, tested, without, learnt=learnt),
        *_of_loss(specification, progress, tested.classes),
        *_of_layers(specification, tested.firing_rates),
        *_of_classes(specification, tested),
        *_of_validation(specification, progress, tested.val_samples),
    ]


def of_certificate(certificate: Mapping[str, Any], asked: Conversion) -> list[Finding]:
    """The finding that the delivered network is not what was trained, where its certificate says
    so; `asked` is how the job wants it."""
    if certificate["verdict"] != "differs":
        return []
    check, grid = certificate["checks"][0], certificate["grid"]
    rounding = grid and grid.get("rounding")
    before = rounding["accuracy_as_trained"] if rounding else check["accuracy_saf"]
    remedy = "train in float32, or with a λ that is a power of two"
    if grid is not None and grid["bits"] is not None:
        remedy = 'take more conversion.grid_bits, or "auto", or null for no rounding'
        if asked.weight_bits is not None:  # with which grid_bits are refused
            few = asked.weight_bits < MOST_WEIGHT_BITS
            more = "more conversion.weight_bits, or " if few else ""
            remedy = f"take {more}more conversion.fine_tune_epochs, or null for no rounding"
    return [
        Finding(
            "conversion_differs",
            f"the network that is delivered is not what was trained: its accuracy is "
            f"{check['accuracy_lif']:.2%} and was {before:.2%}, on {check['samples']} test samples",
            remedy,
        )
    ]


def _of_other_samples(
    specification: ResolvedSpecification, progress: Progress, tested: Tested
) -> Iterator[Finding]:
    """Samples for testing and for validation are both new to the network: it is about as right on
    the ones as on the others, unless they differ in kind."""
    if tested.val_accuracy is None:
        return
    accuracy, validation = tested.accuracy, tested.val_accuracy
    of_test = (tested.correct, tested.samples)
    of_validation = (round(validation * tested.val_samples), tested.val_samples)
    said = (
        f"the network is right on {accuracy:.2%} of the test samples and on {validation:.2%} of "
        "the validation samples, and learned from neither here"
    )
    if accuracy > validation + APART and p_of_difference(*of_test, *of_validation) <= SIGNIFICANT:
        yield Finding(
            "test_unlike_validation",
            f"{said}: test samples may be training samples with small changes",
            "look for test samples that differ from training samples by a few pixels, their scale, "
            "their format or a crop alone, and keep each in one split only",
        )
    if specification.init is not None:
        return  # what it starts from may have learned from samples that are for validation here
    # The best of all epochs on the validation samples is better there by luck, too.
    epochs = len(progress.history)
    below = validation > accuracy + APART
    if below and epochs * p_of_difference(*of_validation, *of_test) <= SIGNIFICANT:
        yield Finding(
            "test_unlike_validation",
            f"{said}: the test samples or their labels are of another kind",
            "check that classes are numbered and samples written alike in both splits; where test "
            "samples are of other people, places or devices, validate on others, too",
        )


def _of_chance(
    specification: ResolvedSpecification,
    progress: Progress,
    tested: Tested,
    without: Baselines,
    *,
    learnt: bool,
) -> Iterator[Finding]:
    accuracy, most_frequent = tested.accuracy, without.most_frequent
    said = (
        f"the accuracy is {accuracy:.2%} on {tested.samples} test samples, and naming the most "
        f"frequent class gives {most_frequent:.2%}"
    )
    # Who asks that all classes count alike gives away samples of the most frequent one.
    balanced = specification.loss.class_weights == "balanced"
    luck = tested.by_luck if balanced else max(most_frequent, tested.by_luck)
    if tested.by_luck > most_frequent or balanced:
        # Or classes are not as frequent among the test samples as among those of the training.
        said += f", these very answers in any other order {tested.by_luck:.2%}"
    earlier = _earlier_steps(specification, tested)
    if accuracy <= luck and _tells_nothing(tested, luck):
        yield Finding(
            "at_chance",
            f"{said}: with so few samples that tells nothing of the network, as all of them right "
            "could be chance, too",
            "test on more samples, and train on more where there are few",
        )
    elif accuracy <= luck:
        yield Finding(
            "at_chance",
            f"the network is no better than no network: {said}",
            "check that labels and samples belong together"
            if learnt
            else learn_more(
                specification,
                "check that labels and samples belong together; then try "
                f"{earlier}another learning rate, more epochs or another network",
            ),
        )
    elif (p := p_value(tested.correct, tested.samples, luck)) > SIGNIFICANT:
        yield Finding(
            "chance_not_excluded",
            f"{said}: with so few samples that can be chance (p = {p:.2g})",
            "test on more samples before relying on the network"
            + ("" if learnt else _labels_first(progress, accuracy, luck)),
        )
    if without.linear is not None and not learnt and _is_below_linear(tested, balanced):
        linear, own = without.linear, accuracy
        over = ""
        if balanced:
            linear, own = tested.linear_balanced or 0.0, tested.balanced_accuracy
            over = " over the classes alike"
        yield Finding(
            "below_linear",
            f"a linear classifier of the samples reaches {linear:.2%}{over}, and the network "
            f"{own:.2%}",
            learn_more(specification, _beyond(specification, progress, earlier)),
        )


def _tells_nothing(tested: Tested, luck: float) -> bool:
    """Whether so few samples were tested that neither all of them right, nor as few as were, would
    be more than luck. Of one class alone it is 1, of any number of samples."""
    samples, wrong = tested.samples, tested.samples - tested.correct
    all_right, this_bad = p_value(samples, samples, luck), p_value(wrong, samples, 1 - luck)
    return luck < 1 and min(all_right, this_bad) > SIGNIFICANT


def _labels_first(progress: Progress, accuracy: float, luck: float) -> str:
    """What else to look for where the training samples are known and others hardly more often than
    by luck: so it is with labels of other samples, too."""
    by_heart = progress.history[-1].get("train_accuracy", 0.0) >= BY_HEART
    if not by_heart or accuracy - luck > HARDLY * (1 - luck):
        return ""
    return (
        "; the training samples are learnt by heart and nothing that holds for others: check that "
        "labels and samples belong together, or train on more"
    )


def _beyond(specification: ResolvedSpecification, progress: Progress, earlier: str) -> str:
    """What may bring a network beyond a linear classifier; `earlier` is of `_earlier_steps`."""
    if (share := progress.history[-1].get("train_accuracy", 0.0)) >= BY_HEART:
        augment = "" if specification.augment else "random changes to them (augment, of images), "
        other = "a smaller mlp" if specification.network.name == "mlp" else "mlp"
        return (
            f"{share:.0%} of the training samples are right, so that longer training adds little: "
            f"try {earlier}more samples, {augment}or another network, such as {other}"
        )
    return f"try {earlier}more epochs, another learning rate or a larger network"


def _is_below_linear(tested: Tested, balanced: bool) -> bool:
    """Whether the linear classifier is better, by more than luck: of the samples that one of both
    alone has right, as many are the network's as heads of a coin (McNemar's test, one-sided)."""
    own, others = tested.against_linear
    if balanced and tested.balanced_accuracy >= (tested.linear_balanced or 0.0):
        return False
    return others > own and p_value(others, own + others, 0.5) <= SIGNIFICANT


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
        yield Finding(
            "loss_rose",
            f"the training loss ended at {last:.3g}, above the {start:.3g} that it began with",
            lower_rate(specification),
        )


def _of_layers(specification: ResolvedSpecification, rates: dict[str, float]) -> Iterator[Finding]:
    silent = [name for name, rate in rates.items() if rate == 0.0]
    if silent:
        yield Finding(
            "silent_layers",
            f"{_listed(silent)} did not fire once on the test samples",
            f"they do nothing: {lower_rate(specification)}, or take a smaller network",
        )
    saturated = [name for name, rate in rates.items() if rate >= SATURATED]
    if saturated:
        yield Finding(
            "saturated_layers",
            f"{_listed(saturated)} fired at {SATURATED:.0%} of all time steps or more",
            "neurons that always fire say nothing: raise neuron.threshold (it is "
            f"{specification.neuron.threshold:g}), lower network.gain, or lower the learning rate",
        )


def _of_classes(specification: ResolvedSpecification, tested: Tested) -> Iterator[Finding]:
    """Classes that count little in the accuracy, and are missed."""
    accuracy = tested.accuracy
    if accuracy - tested.balanced_accuracy > HIDDEN:
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


def _of_validation(
    specification: ResolvedSpecification, progress: Progress, samples: int
) -> Iterator[Finding]:
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
    if last is None or last >= HALF_GONE * best:
        return
    # The best of all epochs is better by luck, too: 5 of 12 samples, and 1 of them at last.
    right = round(best * samples), samples, round(last * samples), samples
    if samples and len(progress.history) * p_of_difference(*right) <= SIGNIFICANT:
        yield Finding(
            "collapsed_after_the_best_epoch",
            f"the validation accuracy fell from {best:.2%} in epoch {progress.best_epoch} to "
            f"{last:.2%} in the last one",
            "lower the learning rate, or set patience so that the training ends early",
        )


def _listed(names: list[str], most: int = 4) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more layers"
