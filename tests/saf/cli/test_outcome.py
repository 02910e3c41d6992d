"""What the terminal says at the end of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saf.cli.outcome import accepted_with, is_rising, next_steps, outcome, warnings
from saf.config import JobSpecification
from tests.api.conftest import Server
from tests.api.jobs.test_health import FINDING, SUMMARY
from tests.saf.cli.test_main import Saf, saf, there

__all__ = ["saf", "there"]
DEFAULTS = JobSpecification().model_dump(mode="json")
GOOD: dict[str, Any] = {**SUMMARY, "test_accuracy": 0.95, "train_accuracy": 0.97}


def test_it_says_what_came_out_and_what_is_had_without_a_network() -> None:
    assert outcome(SUMMARY) == [
        "LIF network 24.00%, measured",
        "as trained 25.00% on the test samples, 30.00% on the validation samples; delivered is "
        "epoch 3, the best on the validation samples",
        "naming the most frequent class gives 26.00%, a linear classifier 50.00%",
    ]


def test_it_says_why_a_network_that_was_to_be_proven_is_not() -> None:
    why = "its weights are on no grid: no grid is exact; it would be proven with precision float64"
    (_, said, *_) = outcome({**SUMMARY, "not_proven": why})
    assert said == f"not proven, as was asked: {why}"


def test_a_network_of_few_bits_is_not_called_as_it_was_trained() -> None:
    """Of 90 % as trained two bits left 38 %: the samples were not learnt by heart."""
    lost = {**GOOD, "verdict": "differs", "test_accuracy": 0.43, "train_accuracy": 0.94}
    asked = {**DEFAULTS, "conversion": {**DEFAULTS["conversion"], "weight_bits": 2}}
    (_, told, _) = outcome(lost, asked)
    assert told.startswith("with weights of 2 bits 43.00% on the test samples")
    assert next_steps(lost, asked, has_findings=True) == []
    assert outcome(GOOD, DEFAULTS)[1].startswith("as trained 95.00%")


def test_what_a_job_of_before_does_not_know_is_left_out() -> None:
    unknown = dict.fromkeys(SUMMARY)
    assert outcome({**unknown, "lif_accuracy": 0.9, "verdict": "measured"}) == [
        "LIF network 90.00%, measured"
    ]
    assert outcome(unknown) == []


@pytest.mark.parametrize(
    ("epochs", "said"),
    [
        ({"best_epoch": None}, "the last one: there are no validation samples"),
        ({"best_epoch": 1}, "the last one, as asked; epoch 1 was the best"),
    ],
)
def test_it_says_why_the_last_epoch_was_delivered(epochs: dict[str, Any], said: str) -> None:
    assert said in "\n".join(outcome({**SUMMARY, **epochs}))


def test_a_warning_says_what_to_change() -> None:
    assert warnings([FINDING]) == [
        "WARNING: no better than no network\n  what to change: lower the rate"
    ]


def test_what_is_learnt_by_heart_wants_more_samples_or_changes_to_them() -> None:
    overfitted = {**GOOD, "train_accuracy": 1.0, "test_accuracy": 0.8}
    (step, _) = next_steps(overfitted, DEFAULTS)
    assert "more samples, or --set augment=crop,flip" in step
    (step, _) = next_steps(overfitted, {**DEFAULTS, "augment": ["flip"]})
    assert step.endswith("more samples")


@pytest.mark.parametrize(
    ("samples", "augment", "grid"),
    [
        ({"kind": "images", "shape": [1, 8, 8], "timesteps": None, "is_bounded": True}, True, True),
        (
            {"kind": "images", "shape": [5, 1, 1], "timesteps": None, "is_bounded": True},
            False,
            True,
        ),
        ({"kind": "series", "shape": [2, 1, 1], "timesteps": 9, "is_bounded": False}, False, False),
        ({"kind": "events", "shape": [2, 8, 8], "timesteps": 9, "is_bounded": False}, True, False),
    ],
)
def test_nothing_is_named_that_would_be_refused_for_the_samples(
    samples: dict[str, Any], augment: bool, grid: bool
) -> None:
    overfitted = {**GOOD, "train_accuracy": 1.0, "test_accuracy": 0.8}
    asked = {**DEFAULTS, "timesteps": samples["timesteps"] or 6}
    told = " ".join(next_steps(overfitted, asked, accepted=accepted_with(asked, samples)))
    assert ("--set augment=crop,flip" in told) is augment
    assert ("--set conversion.grid_bits=auto" in told) is grid
    assert (", with features of one scale" in told) is (grid and not augment)


def test_what_no_specification_can_hold_is_not_accepted() -> None:
    facts = {"kind": "images", "timesteps": None, "is_bounded": True, "shape": [1, 8, 8]}
    accepted = accepted_with(DEFAULTS, facts)
    assert accepted({"conversion": {"grid_bits": "auto"}})
    assert not accepted({"conversion": {"grid_bits": "auto", "weight_bits": 4}})


def test_what_is_right_on_the_validation_samples_was_not_learnt_by_heart() -> None:
    """As where the test samples are labelled otherwise: the samples are not too few."""
    otherwise = {**GOOD, "train_accuracy": 1.0, "test_accuracy": 0.5, "val_accuracy": 0.98}
    assert next_steps(otherwise, DEFAULTS, has_findings=True) == []


def test_an_accuracy_that_still_rises_wants_more_epochs() -> None:
    rising = [number / 30 for number in range(20)]
    assert is_rising(rising)
    (step, _) = next_steps(GOOD, DEFAULTS, val_accuracies=rising, job_id="job_1")
    assert step.endswith("saf continue job_1 --epochs 20")
    (step, _) = next_steps(GOOD, DEFAULTS, val_accuracies=rising)
    assert "--epochs 40 goes on from here" in step
    ended = {**GOOD, "ended_early": True}
    assert len(next_steps(ended, DEFAULTS, val_accuracies=rising)) == 1


@pytest.mark.parametrize("curve", [[], [0.1, 0.9], [0.9] * 20, [0.5, 0.9] * 10])
def test_an_accuracy_that_does_not_rise_wants_none(curve: list[float]) -> None:
    assert not is_rising(curve)


def test_a_network_that_could_be_proven_is_told_so() -> None:
    (step,) = next_steps(GOOD, DEFAULTS)
    assert "--set conversion.grid_bits=auto" in step
    assert next_steps({**GOOD, "verdict": "proven"}, DEFAULTS) == []
    assert next_steps(GOOD, DEFAULTS, has_findings=True) == []
    assert next_steps(GOOD, {**DEFAULTS, "timesteps": 24}) == []
    assert next_steps(GOOD, {**DEFAULTS, "neuron": {"decay": 0.9, "threshold": 1.0}}) == []
    own = {"decay": 0.5, "decays": [1.0, 0.25], "threshold": 1.0}
    assert next_steps(GOOD, {**DEFAULTS, "neuron": own})
    assert next_steps(GOOD, {**DEFAULTS, "neuron": {**own, "decays": [1.0, 0.3]}}) == []
    learned = {"name": "plif", "decay": 0.5, "threshold": 1.0}
    (step,) = next_steps(GOOD, {**DEFAULTS, "neuron": learned})
    assert step.endswith("--set conversion.grid_bits=auto --set conversion.round_decays=true")


def test_watching_a_job_with_findings_tells_them_first_and_succeeds(
    there: Saf, shared: Server
) -> None:
    job_id = there("submit").out.split()[0]
    shared.succeed(shared.run(steps_total=10), **SUMMARY)
    watched = there("watch", job_id)
    assert watched.status == 0
    assert "succeeded, with warnings" in watched.out
    first = watched.out.index("WARNING: no better than no network")
    assert first < watched.out.index("LIF network 24.00%")
    assert "next: the training samples are learnt by heart" in watched.out
    assert there("watch", "--strict", job_id).status == 1
    listed = there("list", "--health", "warning").out
    assert job_id in listed
    assert job_id not in there("list", "--health", "ok").out


def test_what_automatic_settings_become_is_told_before_a_job_is_submitted(there: Saf) -> None:
    told = there("submit", "--dry").out
    assert "network convnet, method saf-f" in told
    assert "/batch_size: 64 (auto)" in told
    assert '/optimizer: {"name": "adamw"' in told


def test_a_training_on_this_machine_ends_with_what_came_out(saf: Saf, tmp_path: Path) -> None:
    few = ["--epochs", "1", "--set", "network.channels=[4]", "--timesteps", "2"]
    ended = saf("train", *few, "--out", str(tmp_path))
    assert ended.status == 0, ended.err
    assert "naming the most frequent class gives" in ended.out
    assert "a linear classifier" in ended.out
    has_findings = "WARNING: " in ended.out
    assert has_findings or "next: " in ended.out
    again = saf("train", *few, "--out", str(tmp_path), "--strict")
    assert again.status == int(has_findings)
