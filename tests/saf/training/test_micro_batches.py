"""Batches computed in parts: the same training in less memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from saf.config import ResolvedSpecification
from saf.data.dataset import Dataset
from saf.estimate.memory import forecast
from saf.model.outcome import Outcome
from saf.networks.build import build
from saf.training import checkpoint as checkpoints
from saf.training.events import Step
from saf.training.loop import train
from tests.saf.methods.rules import cut
from tests.saf.training.trainings import resolved

METHODS = ("saf-e", "saf-f", "ottt-a", "spike-representation", "bptt")


def dataset(samples: int = 29) -> Dataset:
    generator = np.random.default_rng(5)
    y = np.arange(samples) % 3
    x = generator.integers(0, 100, (samples, 1, 8, 8))
    for number, label in enumerate(y):
        x[number, ..., 2 * label : 2 * label + 2] += 150
    images = x.astype(np.uint8)
    return Dataset(
        x_train=images, y_train=y, x_test=images[:9], y_test=y[:9], class_names=tuple("abc")
    )


def specification(**changes: Any) -> ResolvedSpecification:
    values: dict[str, Any] = {
        "network": {"name": "convnet", "channels": [4, 6]},
        "neuron": {"dropout": 0.2},
        "timesteps": 3,
        "epochs": 3,
        "batch_size": 13,  # 10, 10 and 9 samples, which neither 2 nor 4 divides
        "augment": ["crop", "cutout", "flip"],
        "max_gradient_norm": 1.0,
        "average_decay": 0.9,
        "loss": {"mse_share": 0.2, "label_smoothing": 0.1},
        "precision": "float64",
    }
    return resolved(values | changes)


def trained(directory: Path, **changes: Any) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """The weights, the moving average and the optimizer's buffers at the end, and the metrics."""
    reports = list(train(specification(**changes), dataset(), directory, device="cpu"))
    saved = checkpoints.Checkpoint.read(directory / "checkpoint.safetensors")
    buffers = {
        f"{name}/{key}": buffer
        for name, own in saved.optimizer.items()
        for key, buffer in own.items()
    }
    average = {f"average/{name}": weights for name, weights in saved.average.items()}
    metrics = [report.metrics for report in reports if isinstance(report, Step)]
    return saved.weights | average | buffers, metrics


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_parts_train_the_weights_of_the_whole_batch(method: str, tmp_path: Path) -> None:
    whole, metrics = trained(tmp_path / "1", method={"name": method})
    assert sum(step["firing_rate"] for step in metrics) > 0
    for parts in (2, 4, 13):  # the last of one image each
        cut, of_parts = trained(tmp_path / str(parts), method={"name": method}, micro_batches=parts)
        assert cut.keys() == whole.keys()
        for name, expected in whole.items():
            torch.testing.assert_close(
                cut[name],
                expected,
                rtol=1e-12,
                atol=1e-12,
                msg=lambda m: f"{name}: {m}",  # noqa: B023
            )
        for one, other in zip(metrics, of_parts, strict=True):
            for name in ("loss", "accuracy", "firing_rate"):
                assert one[name] == pytest.approx(other[name], rel=1e-12)


def test_adamw_trains_the_same_weights_in_parts(tmp_path: Path) -> None:
    adamw = {"name": "adamw", "learning_rate": 0.01}
    whole, _ = trained(tmp_path / "1", optimizer=adamw)
    cut, _ = trained(tmp_path / "3", optimizer=adamw, micro_batches=3)
    for name, expected in whole.items():
        torch.testing.assert_close(cut[name], expected, rtol=1e-9, atol=1e-10)


def test_a_training_goes_on_in_parts_from_a_checkpoint_of_whole_batches(tmp_path: Path) -> None:
    stops = iter([False, False, False, True])
    list(
        train(
            specification(),
            dataset(),
            tmp_path / "first",
            device="cpu",
            stop=lambda: next(stops, True),
        )
    )
    whole, _ = trained(tmp_path / "whole")
    list(
        train(
            specification(micro_batches=4),
            dataset(),
            tmp_path / "second",
            device="cpu",
            resume_from=tmp_path / "first" / "checkpoints",
        )
    )
    saved = checkpoints.Checkpoint.read(tmp_path / "second" / "checkpoint.safetensors")
    assert saved.specification.micro_batches == 4
    for name, weights in saved.weights.items():
        torch.testing.assert_close(weights, whole[name], rtol=1e-12, atol=1e-12)


def test_more_parts_than_samples_are_as_many_as_there_are_samples() -> None:
    seen: list[int] = []

    def method(*given: Any, **_: Any) -> Any:
        x = given[1]
        seen.append(len(x))
        return Outcome(torch.zeros(()), torch.zeros(len(x), 3), torch.zeros(2))

    updates: list[str] = []
    network: Any = None
    outcome = cut(method, 8)(
        network,
        torch.zeros(3, 1, 8, 8),
        torch.zeros(3, dtype=torch.int64),
        timesteps=1,
        loss=lambda scores, labels: scores.sum(),
        update=lambda: updates.append("update"),
    )
    assert (seen, updates, len(outcome.scores)) == ([1, 1, 1], ["update"], 3)


@pytest.mark.parametrize("method", [{"name": "ottt-o"}, {"name": "saf-e", "update": "step"}])
def test_methods_that_update_at_every_step_refuse_parts(method: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="updates the weights after every time step"):
        specification(method=method, micro_batches=2)
    assert specification(method=method).on_out_of_memory == "split"


def test_a_batch_has_no_more_parts_than_samples() -> None:
    with pytest.raises(ValidationError, match="has only 13 samples"):
        specification(micro_batches=14)


def test_the_forecast_is_of_one_part_and_the_images_of_the_others() -> None:
    architecture = build(specification().network, (1, 8, 8), 3)
    whole = forecast(specification(batch_size=128), architecture, limit_bytes=2**30)
    half = forecast(specification(batch_size=128, micro_batches=2), architecture, limit_bytes=2**30)
    alone = forecast(specification(batch_size=64), architecture, limit_bytes=2**30)
    assert alone.training_bytes < half.training_bytes < whole.training_bytes
    assert half.training_bytes - alone.training_bytes == 8 * 64 * 64
