"""A training that learnt little is put down to the setting that is far from what is usual."""

from __future__ import annotations

from typing import Any

import pytest

from saf.config import JobSpecification, ResolvedSpecification
from saf.config.automatic import DataFacts, resolve
from saf.training.evaluation.remedies import learn_more, lower_rate, unusual


def job(**settings: Any) -> ResolvedSpecification:
    return resolve(JobSpecification.model_validate(settings), DataFacts(train=240))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"method": {"name": "ottt-o"}},
        {"optimizer": {"name": "sgd"}},
        {"optimizer": {"name": "sgd", "learning_rate": 0.1}, "max_gradient_norm": None},
        {"optimizer": {"name": "adamw", "learning_rate": 0.0004, "weight_decay": 0.1}},
        {"optimizer": {"name": "sgd", "weight_decay": 5e-4}},
        {"neuron": {"threshold": 0.5}},
        {"neuron": {"threshold": 50}, "init": {"job": "job_of_before"}},
    ],
)
def test_what_is_usual_is_not_named(settings: dict[str, Any]) -> None:
    assert unusual(job(**settings)) == []


def test_a_rate_that_a_range_test_has_lowered_is_not_put_back() -> None:
    found = job(optimizer={"name": "sgd"})
    lowered = found.optimizer.model_copy(update={"learning_rate": 0.0002})
    assert unusual(found.model_copy(update={"optimizer": lowered})) == []


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        (
            {"optimizer": {"name": "adamw", "learning_rate": 2e-6}},
            "set the learning rate to about 0.002 (it is 2e-06)",
        ),
        (
            {"optimizer": {"name": "adamw", "learning_rate": 0.06}},
            "set the learning rate to about 0.002 (it is 0.06)",
        ),
        ({"max_gradient_norm": 1e-6}, "set max_gradient_norm to 1 (it is 1e-06)"),
        (
            {"optimizer": {"name": "sgd", "weight_decay": 1}},
            "set optimizer.weight_decay to 0 (it is 1)",
        ),
        ({"neuron": {"threshold": 50}}, "set neuron.threshold to 1 (it is 50)"),
        (
            {"loss": {"label_smoothing": 0.99}},
            "set loss.label_smoothing to 0.1 or less (it is 0.99)",
        ),
    ],
)
def test_what_is_far_from_it_is_named_first(settings: dict[str, Any], remedy: str) -> None:
    assert unusual(job(**settings)) == [remedy]
    assert learn_more(job(**settings), "try more epochs") == f"{remedy}; then try more epochs"


@pytest.mark.parametrize(
    ("optimizer", "tried"),
    [
        ({"name": "sgd", "learning_rate": 50}, "0.03"),  # a tenth of it diverges, too
        ({"name": "adamw", "learning_rate": 6}, "0.002"),
        ({"name": "adamw", "learning_rate": 0.004}, "0.0004"),
        ({"name": "adamw"}, "0.0002"),
    ],
)
def test_a_rate_is_lowered_by_ten_and_at_least_to_the_usual_one(
    optimizer: dict[str, Any], tried: str
) -> None:
    asked = job(optimizer=optimizer, batch_size=32)
    rate = f"{asked.learning_rate:g}"
    assert lower_rate(asked) == f"lower the learning rate (it is {rate}; try {tried})"
