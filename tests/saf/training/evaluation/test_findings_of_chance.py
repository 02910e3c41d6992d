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
        tested = health.Tested(correct, 100, 0.4, 0.3, 2, {"layer1": 0.1}, in_time)
        job = specification(method={"name": method}, timesteps=40)
        found = health.findings(job, PROGRESS, tested, replace(WITHOUT, linear=1.0))
        return next(f.hint for f in found if f.code == code)

    assert "the method saf-e (by saf-f" in hint("saf-f", in_time=True)
    assert "saf-e" not in hint("saf-e", in_time=True)
    assert "saf-e" not in hint("saf-f", in_time=False)


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
