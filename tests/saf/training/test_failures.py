"""Trainings that cannot go on: what is said, and what to do."""

from pathlib import Path
from typing import Any

import pytest
import torch

from saf.errors import (
    DivergedError,
    OutOfMemoryError,
    SilentNetworkError,
    TimeLimitError,
)
from saf.networks.build import build
from saf.networks.convnet import ConvNet
from saf.training.checkpoint import Progress
from saf.training.failures import check_not_diverged, check_not_silent, memory_explained, silence
from tests.saf.training.trainings import dataset, run, specification

CPU = torch.device("cpu")


def test_a_loss_that_is_not_finite_names_the_iteration_and_a_remedy(tmp_path: Path) -> None:
    job = specification(
        optimizer={"name": "sgd", "learning_rate": 100}, loss={"mse_share": 1.0}, epochs=60
    )
    with pytest.raises(DivergedError, match=r"at iteration \d+|rose from") as caught:
        run(job, dataset(), tmp_path)
    assert "lower the learning rate" in caught.value.hint
    for path in (tmp_path / "checkpoints").glob("*"):
        assert path.is_file()


def test_a_network_that_never_fires_is_named_with_a_remedy(tmp_path: Path) -> None:
    job = specification(neuron={"threshold": 1000}, epochs=5)
    with pytest.raises(SilentNetworkError, match="layer1 has not fired once in 2 epoch") as caught:
        run(job, dataset(), tmp_path)
    assert "set neuron.threshold to" in caught.value.hint


def epochs(*rows: tuple[float, float, float]) -> Progress:
    """A history of (firing rate of layer2, loss, accuracy)."""
    return Progress(
        history=[
            {
                "firing_rate/layer1": 0.1,
                "firing_rate/layer2": r,
                "train_loss": x,
                "train_accuracy": a,
            }
            for r, x, a in rows
        ]
    )


def nothing() -> None:
    return None


def test_silence_fails_only_where_nothing_is_learnt() -> None:
    job = specification(epochs=9)
    with pytest.raises(SilentNetworkError, match="layer2"):
        check_not_silent(job, epochs((0.0, 2.3, 0.1), (0.0, 2.3, 0.1)), 0.1, nothing)
    check_not_silent(job, epochs((0.0, 2.3, 0.1)), 0.1, nothing)  # wait for the second epoch
    check_not_silent(
        job, epochs((0.0, 2.3, 0.1), (1e-9, 2.3, 0.1)), 0.1, lambda: None
    )  # it woke up
    check_not_silent(
        job, epochs((0.0, 2.3, 0.1), (0.0, 2.2, 0.1)), 0.1, lambda: None
    )  # the loss falls
    check_not_silent(job, epochs((0.0, 0.1, 0.9), (0.0, 0.1, 0.9)), 0.1, nothing)  # a skip
    with pytest.raises(SilentNetworkError):
        check_not_silent(specification(epochs=1), epochs((0.0, 2.3, 0.1)), 0.1, nothing)


def test_a_layer_beside_a_skip_may_be_silent_where_one_class_is_most_of_the_samples() -> None:
    job, right = specification(epochs=9), epochs((0.0, 0.01, 0.99), (0.0, 0.01, 0.99))
    check_not_silent(job, right, 0.8, nothing)
    with pytest.raises(SilentNetworkError, match="layer2"):
        check_not_silent(job, epochs((0.0, 0.5, 0.8), (0.0, 0.5, 0.8)), 0.8, nothing)


def test_a_training_that_starts_from_good_weights_diverges_from_where_nothing_is_known() -> None:
    """A batch with a loss of 1e-4 is where it begins; an epoch at 0.2 is still a good network."""

    def check(*losses: float) -> None:
        progress = epochs(*((0.1, loss, 0.9) for loss in losses))
        progress.initial_loss = 1e-4
        check_not_diverged(specification(epochs=9), progress, 10)

    check(0.2, 0.2)
    for losses in [(30.0, 30.0), (3000.0,)]:
        with pytest.raises(DivergedError, match=r"rose from 0\.0001"):
            check(*losses)


def test_memory_that_cannot_be_had_names_a_smaller_batch() -> None:
    job = specification(batch_size=50_000_000 // 10)
    architecture = build(ConvNet(), (1, 8, 8), 3)
    with (
        pytest.raises(OutOfMemoryError, match="too little memory for 4096 samples") as caught,
        memory_explained(job, architecture, 4096, CPU),
    ):
        torch.empty(2**60)
    assert caught.value.hint.startswith('set "batch_size" to 2048 or less, or "micro_batches" to 2')
    assert caught.value.samples == 2048


@pytest.mark.parametrize(
    ("samples", "asked", "hint"),
    [
        (4096, 3, 'or "timesteps_at_once" to 1'),
        (1, 3, 'set "timesteps_at_once" to 1, which is the same training in less memory, or take'),
        (1, 1, "take a smaller network"),
    ],
)
def test_memory_that_cannot_be_had_names_fewer_steps_at_once(
    samples: int, asked: int, hint: str
) -> None:
    job = specification(batch_size=samples, timesteps_at_once=asked)
    architecture = build(ConvNet(), (1, 8, 8), 3)
    with (
        pytest.raises(OutOfMemoryError) as caught,
        memory_explained(job, architecture, samples, CPU),
    ):
        torch.empty(2**60)
    assert hint in caught.value.hint
    assert ("timesteps_at_once" in caught.value.hint) == (asked > 1)


def test_another_error_of_torch_stays_what_it_is() -> None:
    architecture = build(ConvNet(), (1, 8, 8), 3)
    with (
        pytest.raises(RuntimeError, match="shape"),
        memory_explained(specification(), architecture, 10, CPU),
    ):
        torch.zeros(2).view(3)


def test_a_training_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    job = specification(max_runtime_seconds=1e-9)
    with pytest.raises(TimeLimitError, match="1 iterations and 0 of 2 epochs"):
        run(job, dataset(), tmp_path)


@pytest.mark.parametrize(
    ("changes", "value", "said", "unsaid"),
    [
        ({"network": {"name": "convnet", "gain": "auto"}}, None, "another network", '"auto"'),
        ({"network": {"name": "convnet", "gain": "auto"}}, 0.5, "threshold to 0.5", '"auto"'),
        ({"init": {"job": "j"}}, None, "leave init out", '"auto"'),
        ({}, None, 'network.gain to "auto"', "init"),
    ],
)
def test_a_remedy_for_silence_is_one_that_is_not_in_force(
    changes: dict[str, Any], value: float | None, said: str, unsaid: str
) -> None:
    error = silence(specification(**changes), epochs((0.0, 2.3, 0.1)), "layer2", lambda: value)
    assert said in error.hint
    assert unsaid not in error.hint
