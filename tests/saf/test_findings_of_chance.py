"""An accuracy that takes no network is not called a success."""

from saf import health
from saf.baseline import Baselines
from saf.checkpoint import Progress
from tests.saf.trainings import specification

WITHOUT = Baselines(
    most_frequent=0.3, most_frequent_class=0, linear=None, linear_reason="none", seconds=0.0
)
PROGRESS = Progress(
    history=[{"train_loss": 1.0, "val_accuracy": 0.7}], initial_loss=1.0, best_epoch=1
)


def codes(correct: int, answers: int, balanced: float) -> list[str]:
    tested = health.Tested(correct, 100, balanced, answers, {"layer1": 0.1})
    return [f.code for f in health.findings(specification(), PROGRESS, tested, WITHOUT)]


def test_one_answer_for_every_sample_is_chance_whatever_the_frequencies_of_the_test_set() -> None:
    """The most frequent class of training is 30 of 100 here, and the network names the other."""
    assert codes(70, answers=1, balanced=0.5) == ["at_chance"]
    assert codes(30, answers=1, balanced=0.5) == ["at_chance"]
    assert codes(70, answers=2, balanced=0.7) == []
