"""What chooses are the validation samples; the test samples are looked at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import saf
from saf.config import Loss
from saf.data.dataset import Dataset
from saf.data.split import hold_out
from saf.training import trainer
from saf.training.batches import Samples
from saf.training.checkpoint import Checkpoint, Progress
from saf.training.evaluation.classes import by_class, class_weights, shares_right
from saf.training.events import Evaluation, Finished
from saf.training.optimisation.loss import loss_function
from tests.saf.training.trainings import dataset, labelled, run, specification, summary


@given(
    arrays(np.int64, st.integers(0, 60), elements=st.integers(0, 5)),
    st.floats(0, 0.5),
    st.integers(0, 2**40),
)
def test_of_each_class_a_share_is_held_out_and_never_all(
    labels: np.ndarray, share: float, seed: int
) -> None:
    chosen = hold_out(labels, share, seed=seed)
    assert (chosen == hold_out(labels, share, seed=seed)).all()
    for label in np.unique(labels):
        own = chosen[labels == label]
        assert not own.all()
        assert own.sum() >= min(share * len(own) - 1e-6, len(own) - 1)
        assert own.sum() <= share * len(own) + 1


def test_another_seed_holds_out_others() -> None:
    labels = np.zeros(100, np.int64)
    assert (hold_out(labels, 0.2, seed=0) != hold_out(labels, 0.2, seed=1)).any()


def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What is evaluated from here on, and on how many samples."""
    seen: list[tuple[str, int]] = []
    evaluate = trainer.evaluate  # type: ignore[attr-defined]

    def watch(network: Any, data: Samples, *given: Any, what: str, **options: Any) -> Any:
        seen.append((what, len(data)))
        return evaluate(network, data, *given, what=what, **options)

    monkeypatch.setattr(trainer, "evaluate", watch)
    return seen


def test_the_test_samples_are_looked_at_once_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watched(monkeypatch)
    reports = run(specification(epochs=3, validation_share=0.2), dataset(), tmp_path)
    assert seen == [("validation", 6)] * 3 + [("test", 12)]
    keys = [set(r.metrics) for r in reports if isinstance(r, Evaluation)]
    assert keys == [{"val_loss", "val_accuracy", "val_balanced_accuracy"}] * 3 + [
        {"test_loss", "test_accuracy", "test_balanced_accuracy"}
    ]


def test_a_data_set_brings_its_own_validation_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watched(monkeypatch)
    x, y = labelled(9, 1, 8, 8)
    plain = dataset()
    own = Dataset(**{n: getattr(plain, n) for n in FIELDS}, x_val=x, y_val=y)
    run(specification(epochs=1), own, tmp_path)
    assert seen == [("validation", 9), ("test", 12)]


def test_beside_validation_samples_of_its_own_all_training_samples_are_learnt_from(
    tmp_path: Path,
) -> None:
    x, y = labelled(9, 1, 8, 8)
    own = Dataset(**{n: getattr(dataset(), n) for n in FIELDS}, x_val=x, y_val=y)
    run(specification(epochs=1, batch_size=1, validation_share=0.5), own, tmp_path)
    assert Checkpoint.read(tmp_path / "checkpoint.safetensors").progress.step == 26


FIELDS = ("x_train", "y_train", "x_test", "y_test", "class_names")


NOTE_BEST = Progress.note_best


def scripted(monkeypatch: pytest.MonkeyPatch, accuracies: list[float]) -> None:
    """Let the validation accuracy of each epoch be what is written here."""
    left: Iterator[float] = iter(accuracies)

    def noted(self: Progress, balanced: bool) -> bool:
        self.history[-1]["val_accuracy"] = next(left)
        return NOTE_BEST(self, balanced)

    monkeypatch.setattr(Progress, "note_best", noted)


def test_the_best_epoch_is_delivered_and_the_last_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = specification(epochs=4, validation_share=0.2)
    scripted(monkeypatch, [0.1, 0.9, 0.5, 0.5])
    found = summary(run(job, dataset(), tmp_path / "best"))
    assert (found["best_epoch"], found["delivered_epoch"], found["val_accuracy"]) == (2, 2, 0.9)
    kept = Checkpoint.read(tmp_path / "best" / "checkpoint.safetensors")
    assert any(not torch.equal(kept.best[name], kept.weights[name]) for name in kept.weights)
    lif = saf.load_lif(tmp_path / "best" / "lif.safetensors")
    scripted(monkeypatch, [0.1, 0.9, 0.5, 0.5])
    last = specification(epochs=4, validation_share=0.2, conversion={"weights": "last"})
    found = summary(run(last, dataset(), tmp_path / "last"))
    assert (found["best_epoch"], found["delivered_epoch"]) == (2, 4)
    other = saf.load_lif(tmp_path / "last" / "lif.safetensors")
    assert any(not torch.equal(lif.tensors[n], other.tensors[n]) for n in lif.tensors)


@pytest.mark.parametrize(
    ("weights", "bests"), [("none", [0.9, 0.9, 0.9]), ("balanced", [0.9, 0.8, 0.8])]
)
def test_the_best_accuracy_is_that_of_the_epoch_whose_weights_are_kept(
    weights: str, bests: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who names the most frequent class always may have the largest accuracy of all."""
    left = iter([(0.9, 0.5), (0.8, 0.8), (0.85, 0.7)])

    def noted(self: Progress, balanced: bool) -> bool:
        plain, of_classes = next(left)
        self.history[-1] |= {"val_accuracy": plain, "val_balanced_accuracy": of_classes}
        return NOTE_BEST(self, balanced)

    monkeypatch.setattr(Progress, "note_best", noted)
    job = specification(epochs=3, validation_share=0.2, loss={"class_weights": weights})
    reports = run(job, dataset(), tmp_path)
    told = [report.best_accuracy for report in reports if isinstance(report, Evaluation)]
    assert told == [*bests, None]  # and nothing of the test samples
    assert summary(reports)["val_accuracy"] == bests[-1]


def test_among_equal_accuracies_the_lower_loss_is_better() -> None:
    progress = Progress()
    for accuracy, loss in ((0.5, 1.0), (0.5, 0.8), (0.5, 0.9), (0.6, 2.0), (0.6, 2.0)):
        progress.history.append({"val_accuracy": accuracy, "val_loss": loss})
        progress.note_best(False)
    assert progress.best_epoch == 4


def test_patience_ends_a_training_and_a_resumed_one_stays_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = specification(epochs=9, validation_share=0.2, patience=2)
    scripted(monkeypatch, [0.3, 0.4, 0.2, 0.2, 1.0])
    found = summary(run(job, dataset(), tmp_path))
    assert (found["ended_early"], found["iterations"], found["best_epoch"]) == (True, 4 * 4, 2)
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["epochs"]) == 4
    again = saf.train(
        job, dataset(), tmp_path / "again", device="cpu", resume_from=tmp_path / "checkpoints"
    )
    assert not [r for r in again if isinstance(r, Evaluation) and "val_loss" in r.metrics]


def test_a_training_of_all_its_epochs_did_not_end_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [0.3, 0.4, 0.2, 0.2])
    job = specification(epochs=4, validation_share=0.2, patience=2)
    found = summary(run(job, dataset(), tmp_path))
    assert (found["ended_early"], found["iterations"]) == (False, 4 * 4)


def test_a_training_goes_on_where_the_validation_samples_are_gone(tmp_path: Path) -> None:
    x, y = labelled(9, 1, 8, 8)
    plain = dataset()
    own = Dataset(**{n: getattr(plain, n) for n in FIELDS}, x_val=x, y_val=y)
    run(specification(epochs=2), own, tmp_path / "first")
    *_, last = saf.train(
        specification(epochs=3),
        plain,
        tmp_path / "on",
        device="cpu",
        resume_from=tmp_path / "first" / "checkpoint.safetensors",
    )
    assert isinstance(last, Finished)
    assert last.summary["best_epoch"] in (1, 2)


def test_one_sample_of_a_class_is_trained_on_and_a_job_without_validation_says_so(
    tmp_path: Path,
) -> None:
    x, y = labelled(3, 1, 8, 8)
    x_test, y_test = labelled(12, 1, 8, 8)
    tiny = Dataset(x_train=x, y_train=y, x_test=x_test, y_test=y_test, class_names=tuple("abc"))
    found = summary(run(specification(epochs=1, validation_share=0.5), tiny, tmp_path))
    assert found["best_epoch"] is None
    assert "no_validation" in [finding["code"] for finding in found["findings"]]
    asked = summary(run(specification(epochs=1, validation_share=0.0), tiny, tmp_path / "asked"))
    assert asked["best_epoch"] is None
    assert "no_validation" not in [finding["code"] for finding in asked["findings"]]


def test_balanced_weights_count_every_class_alike() -> None:
    labels = torch.tensor([0] * 6 + [1] * 2 + [3] * 4)
    weights = class_weights(Loss(class_weights="balanced"), labels, 4)
    assert weights is not None
    assert weights[labels].mean() == pytest.approx(1.0)
    assert weights.tolist() == [12 / 18, 2.0, 0.0, 1.0]
    assert class_weights(Loss(), labels, 4) is None


def test_the_weighted_loss_of_a_batch_is_the_mean_of_its_parts() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 0, 1, 0])
    weights = class_weights(Loss(class_weights="balanced"), labels, 3)
    for recipe in (Loss(mse_share=0.3, label_smoothing=0.1), Loss()):
        weighted = loss_function(recipe, weights)
        alone = [float(weighted(scores[i : i + 1], labels[i : i + 1])) for i in range(7)]
        assert float(weighted(scores, labels)) == pytest.approx(sum(alone) / 7, rel=1e-12)
        even = loss_function(recipe, torch.ones(3, dtype=torch.float64))
        assert float(even(scores, labels)) == pytest.approx(
            float(loss_function(recipe)(scores, labels)), rel=1e-12
        )


def test_classes_are_told_one_by_one() -> None:
    labels, predicted = torch.tensor([0, 0, 0, 2, 2]), torch.tensor([0, 0, 1, 2, 0])
    found = by_class(predicted, labels, ("a", "b", "c"))
    assert found["samples"] == [3, 0, 2]
    assert found["accuracy"] == [pytest.approx(2 / 3), None, 0.5]
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["confusion"] == [[2, 1, 0], [0, 0, 0], [1, 0, 1]]
    assert shares_right(predicted, labels, 3).mean == found["balanced_accuracy"]
    many = by_class(predicted, labels, tuple(str(n) for n in range(1001)))
    assert many["confusion"] is None


def test_the_report_counts_the_files_that_were_left_out(tmp_path: Path) -> None:
    data = replace(dataset(), skipped=("1.png: cut short", "2.png: no image"))
    run(specification(conversion={"samples": 5}), data, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["dataset"]["skipped"] == {"count": 2, "files": list(data.skipped)}
