"""The assessment of the delivered network on the test samples, once the training is over:
accuracy by class, beside baselines without a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from saf.data.baseline import Baselines, baselines
from saf.data.dataset import Dataset, skipped_of
from saf.data.findings import Finding, untrained_classes
from saf.data.findings import findings as findings_of_data
from saf.model.network import SpikingNetwork
from saf.training.evaluation.classes import by_class, count_right, right_by_luck, shares_right
from saf.training.evaluation.health import Tested, findings
from saf.training.failures import silence, silenced
from saf.training.trainer import Trainer

LEAKS = ("test_in_training", "validation_in_training", "validation_in_test")
"""Findings of a data set by which an accuracy says less than it seems to."""
CAUSES = (
    "other_scale",
    "extreme_values",
    "contradicting_labels",
    "constant_channel",
)
"""Those that a bad result may be put down to, and that are told beside one."""
BAD = ("test_unlike_validation", "at_chance", "chance_not_excluded", "below_linear")


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """Results on the test samples, as JSON values where they are for the report."""

    metrics: dict[str, float]  # test_loss, test_accuracy, test_balanced_accuracy
    fires: bool  # whether any neuron does
    classes: dict[str, Any]  # per class: names, samples, accuracy, confusion …
    baselines: Baselines
    findings: list[Finding]
    skipped: dict[str, Any]  # files of the data set that were left out: count, files
    samples: dict[str, Any]  # facts of them, as of `saf.config.samples`

    def report(self) -> dict[str, Any]:
        """The part of `report.json` that says what the network is worth."""
        return {
            "health": "warning" if self.findings else "ok",
            "findings": [finding._asdict() for finding in self.findings],
            "dataset": {"skipped": self.skipped, "samples": self.samples},
            "classes": self.classes,
            "baselines": {
                "most_frequent": self.baselines.most_frequent,
                "most_frequent_class": self.baselines.most_frequent_class,
                "linear": self.baselines.linear,
                "linear_reason": self.baselines.linear_reason,
            },
        }


def assess(
    trainer: Trainer,
    network: SpikingNetwork,
    dataset: Dataset,
    *,
    val_accuracy: float | None,
    rounded: bool = False,
) -> Assessment:
    """Test `network`, which is the one to be delivered; `rounded`: one whose weights were given
    few bits. `val_accuracy` is its accuracy on the validation samples, None without such samples.

    Raises `SilentNetworkError` where not one neuron fires on any test sample, nor on those that it
    learned from: its answer is the same for every sample, whatever its accuracy. On few test
    samples, as on a single dark one, a good network may be silent.
    """
    specification, labels = trainer.specification, trainer.test_set.labels
    found = trainer.evaluated(network, trainer.test_set, "test")
    fires = any(found.firing_rates.values())
    if not fires and not _fires_on_others(trainer, network):
        if rounded:
            raise silenced(specification.conversion)
        layer = next(iter(found.firing_rates))
        raise silence(specification, trainer.progress, layer, trainer.firing_threshold)
    classes = by_class(found.predicted, labels, dataset.class_names)
    correct = count_right(found.predicted, labels)
    without = baselines(
        dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test, dataset.classes
    )
    against, linear_balanced = (0, 0), None
    if without.linear_named is not None:
        named = torch.from_numpy(without.linear_named)
        ours, theirs = found.predicted == labels, named == labels
        against = (int((ours & ~theirs).sum()), int((theirs & ~ours).sum()))
        linear_balanced = shares_right(named, labels, dataset.classes).mean
    tested = Tested(
        correct,
        len(labels),
        classes["balanced_accuracy"],
        right_by_luck(found.predicted, labels, dataset.classes),
        dataset.classes,
        found.firing_rates,
        in_time=specification.input.changes(trainer.has_frames),
        against_linear=against,
        linear_balanced=linear_balanced,
        val_accuracy=val_accuracy,
        val_samples=len(trainer.val_set),
    )
    of_data = findings_of_data(dataset)
    of_training = findings(specification, trainer.progress, tested, without)
    told = LEAKS + (CAUSES if any(each.code in BAD for each in of_training) else ())
    return Assessment(
        metrics={
            "test_loss": found.loss,
            "test_accuracy": correct / len(labels),
            "test_balanced_accuracy": classes["balanced_accuracy"],
        },
        fires=fires,
        classes=classes,
        baselines=without,
        skipped=skipped_of(dataset),
        samples=dataset.facts(),
        findings=[
            *(found for found in of_data if found.code in told),
            *untrained_classes(dataset),
            *of_training,
        ],
    )


def _fires_on_others(trainer: Trainer, network: SpikingNetwork) -> bool:
    """Whether a neuron fires on the samples that the network learned from."""
    found = trainer.evaluated(network, trainer.train_set, "training")
    return any(found.firing_rates.values())
