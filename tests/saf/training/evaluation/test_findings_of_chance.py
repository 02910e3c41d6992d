"""An accuracy that takes no network is not called a success."""

from dataclasses import replace
from itertools import permutations

import pytest
import torch

from saf.data.baseline import Baselines
from saf.training.checkpoint import Progress
from saf.training.evaluation import health
from saf.training.evaluation.classes import right_by_luck
from tests.saf.training.trainings import specification

WITHOUT = Baselines(
    most_frequent=0.3, most_frequent_class=0, linear=None, linear_reason="none", seconds=0.0
)
PROGRESS = Progress(
    history=[{"train_loss": 1.0, "val_accuracy": 0.7}], initial_loss=1.0, best_epoch=1
)


def codes(correct: int, by_luck: float, balanced: float) -> list[str]:
    tested = health.Tested(correct, 100, balanced, by_luck, 2, {"layer1": 0.1})
    return [f.code for f in health.findings(specification(), PROGRESS, tested, WITHOUT)]


def test_answers_that_are_right_by_luck_are_chance_whatever_the_frequencies_of_the_test_set() -> (
    None
):
    """The most frequent class of training is 30 of 100 here, and the network names the other."""
    assert codes(70, by_luck=0.7, balanced=0.5) == ["at_chance"]
    assert codes(30, by_luck=0.3, balanced=0.5) == ["at_chance"]
    assert codes(65, by_luck=0.64, balanced=0.5) == ["chance_not_excluded"]
    assert codes(70, by_luck=0.5, balanced=0.7) == []


@pytest.mark.parametrize(("correct", "code"), [(30, "at_chance"), (50, "below_linear")])
def test_a_loss_at_the_last_step_is_named_where_samples_change_with_time(
    correct: int, code: str
) -> None:
    """By `saf-f` what happens before the last few time steps hardly counts."""

    def hint(method: str, *, in_time: bool) -> str:
        tested = health.Tested(
            correct, 100, 0.4, 0.3, 2, {"layer1": 0.1}, in_time, against_linear=(0, 50)
        )
        job = specification(method={"name": method}, timesteps=40)
        found = health.findings(job, PROGRESS, tested, replace(WITHOUT, linear=1.0))
        return next(f.hint for f in found if f.code == code)

    assert "the method saf-e (by saf-f" in hint("saf-f", in_time=True)
    assert "saf-e" not in hint("saf-e", in_time=True)
    assert "saf-e" not in hint("saf-f", in_time=False)


@pytest.mark.parametrize(
    ("own", "others", "expected"), [(0, 1, []), (0, 6, []), (0, 7, ["below_linear"]), (20, 27, [])]
)
def test_one_sample_that_a_linear_classifier_alone_has_right_does_not_make_it_better(
    own: int, others: int, expected: list[str]
) -> None:
    """Also where the linear classifier has all of them right."""
    without = replace(WITHOUT, linear=(90 + others - own) / 100)
    tested = health.Tested(90, 100, 0.9, 0.5, 2, {"layer1": 0.1}, against_linear=(own, others))
    found = health.findings(specification(), PROGRESS, tested, without)
    assert [each.code for each in found] == expected


def test_a_network_that_weighs_classes_alike_is_not_measured_by_the_most_frequent_one() -> None:
    """Of 270 and 30 samples it has 234 and 20 right: 85 %, and naming the first class 90 %."""
    without = replace(WITHOUT, most_frequent=0.9, linear=0.92)
    by_luck = (244 * 270 + 56 * 30) / 300**2
    tested = health.Tested(
        254, 300, (234 / 270 + 20 / 30) / 2, by_luck, 2, {"layer1": 0.1}, False, (5, 28), 0.62
    )
    balanced = specification(loss={"class_weights": "balanced"})
    assert health.findings(balanced, PROGRESS, tested, without) == []
    (chance, *_) = health.findings(specification(), PROGRESS, tested, without)
    assert chance.code == "at_chance"
    better = tested._replace(linear_balanced=0.85)
    (found,) = health.findings(balanced, PROGRESS, better, without)
    assert found.code == "below_linear"
    assert "reaches 85.00% over the classes alike, and the network 76.67%" in found.message
    one_class = health.Tested(270, 300, 0.5, 0.9, 2, {"layer1": 0.1})
    (found,) = health.findings(balanced, PROGRESS, one_class, without)[:1]
    assert found.code == "at_chance"


def test_classes_that_are_missed_are_told_where_no_class_is_most_of_the_samples() -> None:
    """Four classes of 40 samples and four of 4, of which one in sixteen is right."""
    tested = health.Tested(142, 176, 0.47, 0.2, 8, {"layer1": 0.1})
    without = replace(WITHOUT, most_frequent=0.23)
    (found,) = health.findings(specification(), PROGRESS, tested, without)
    assert found.code == "rare_classes_ignored"
    assert 'class_weights to "balanced"' in found.hint


def test_who_knows_the_training_samples_by_heart_is_not_told_to_train_longer() -> None:
    tested = health.Tested(60, 100, 0.6, 0.25, 2, {"layer1": 0.1}, against_linear=(2, 20))
    without = replace(WITHOUT, linear=0.78)
    hints = [
        health.findings(
            specification(),
            PROGRESS.model_copy(
                update={"history": [{**PROGRESS.history[0], "train_accuracy": right}]}
            ),
            tested,
            without,
        )[0].hint
        for right in (0.7, 1.0)
    ]
    assert hints[0] == "try more epochs, another learning rate or a larger network"
    assert hints[1].startswith("100% of the training samples are right, so that longer training")


@pytest.mark.parametrize(("samples", "few"), [(2, True), (3, True), (4, False), (30, False)])
def test_a_few_samples_that_are_all_wrong_are_not_put_down_to_the_network(
    samples: int, few: bool
) -> None:
    """Of three samples all are right by luck in one of 37 such networks."""
    tested = health.Tested(0, samples, 0.0, 0.25, 3, {"layer1": 0.1})
    (found,) = health.findings(specification(), PROGRESS, tested, WITHOUT)
    assert found.code == "at_chance"
    assert found.hint.startswith("test on more samples" if few else "check that labels")
    assert ("no better than no network" in found.message) is not few


@pytest.mark.parametrize(("correct", "tells_nothing"), [(57, True), (30, False)])
def test_a_network_that_is_worse_than_luck_is_no_better_than_none(
    correct: int, tells_nothing: bool
) -> None:
    """Where 95 % are of one class, 60 right of 60 may be luck, and 30 wrong ones are not."""
    tested = health.Tested(correct, 60, correct / 60, 0.95, 2, {"layer1": 0.1})
    found = health.findings(specification(), PROGRESS, tested, WITHOUT)
    (chance,) = (finding for finding in found if finding.code == "at_chance")
    assert ("no better than no network" in chance.message) is not tells_nothing


@pytest.mark.parametrize(
    ("best", "last", "samples", "epochs", "told"),
    [
        (5, 1, 12, 100, False),  # what chance does with so few
        (11, 1, 12, 100, True),
        (60, 10, 100, 30, True),
        (60, 40, 100, 30, False),
    ],
)
def test_a_fall_after_the_best_epoch_is_told_where_it_is_more_than_luck(
    best: int, last: int, samples: int, epochs: int, told: bool
) -> None:
    history = [
        {"train_loss": 1.0, "val_accuracy": right / samples}
        for right in [best, *[last] * (epochs - 1)]
    ]
    progress = Progress(history=history, initial_loss=1.0, best_epoch=1)
    tested = health.Tested(90, 100, 0.9, 0.5, 2, {"layer1": 0.1}, val_samples=samples)
    found = health.findings(specification(), progress, tested, WITHOUT)
    assert [f.code for f in found] == ["collapsed_after_the_best_epoch"] * told


def test_labels_of_other_samples_are_thought_of_where_learning_by_heart_is_all_that_was_done() -> (
    None
):
    """As with shuffled labels: 35 % of the test samples are right, and all of the others."""

    def hint(correct: int, right: float) -> str:
        history = [{"train_loss": 0.1, "val_accuracy": 0.4, "train_accuracy": right}]
        progress = Progress(history=history, initial_loss=1.0, best_epoch=1)
        tested = health.Tested(correct, 60, 0.3, 0.33, 3, {"layer1": 0.1})
        (found,) = health.findings(specification(), progress, tested, WITHOUT)
        assert found.code == "chance_not_excluded"
        return found.hint

    assert "check that labels and samples belong together" in hint(21, 1.0)
    assert "labels" not in hint(21, 0.6)


@pytest.mark.parametrize(
    ("conversion", "named", "not_named"),
    [
        ({"grid_bits": 3}, "conversion.grid_bits", "weight_bits"),
        ({"weight_bits": 2}, "conversion.weight_bits", "grid_bits"),
        ({"weight_bits": 8}, "conversion.fine_tune_epochs", "weight_bits"),
    ],
)
def test_what_is_named_where_a_grid_costs_too_much_is_accepted(
    conversion: dict[str, int], named: str, not_named: str
) -> None:
    """`grid_bits` is refused beside `weight_bits`, which end at 8."""
    check = {"accuracy_lif": 0.8, "accuracy_saf": 0.8, "samples": 60}
    grid = {"bits": 3, "rounding": {"accuracy_as_trained": 0.95}}
    certificate = {"verdict": "differs", "checks": [check], "grid": grid}
    (found,) = health.of_certificate(certificate, specification(conversion=conversion).conversion)
    assert named in found.hint
    assert not_named not in found.hint


def test_luck_is_the_mean_over_all_orders_of_the_answers() -> None:
    labels, predicted = torch.tensor([0, 1, 1, 1]), torch.tensor([1, 1, 0, 1])
    orders = [torch.tensor(order) for order in permutations(predicted.tolist())]
    mean = sum(float((order == labels).double().mean()) for order in orders) / len(orders)
    assert right_by_luck(predicted, labels, 5) == pytest.approx(mean, abs=1e-12)
    same = torch.ones(4, dtype=torch.int64)
    assert right_by_luck(same, labels, 2) == 0.75  # not a rounding more than what is right


def test_good_weights_to_start_from_are_judged_by_epochs_and_bad_ones_by_what_is_known() -> None:
    """The first batch of a training is by chance far easier than the others."""

    def of_losses(*losses: float) -> list[str]:
        history = [{"train_loss": loss, "val_accuracy": 0.7} for loss in losses]
        progress = Progress(history=history, initial_loss=0.01, best_epoch=1)
        tested = health.Tested(70, 100, 0.7, 0.5, 2, {"layer1": 0.1})
        job = specification(init={"job": "j"})
        return [f.code for f in health.findings(job, progress, tested, WITHOUT)]

    assert of_losses(0.03, 0.02) == []
    assert of_losses(0.03, 0.04) == ["loss_rose"]
    assert of_losses(5.0, 5.0) == ["loss_rose"]
