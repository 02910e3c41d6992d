"""What papers train with besides the method: smoothing, clipping, a moving average of weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from saf.config import Loss
from saf.data.dataset import Dataset
from saf.training.checkpoint import Checkpoint
from saf.training.loop import train
from saf.training.optimisation.ema import MovingAverage
from saf.training.optimisation.loss import loss_function
from tests.saf.training.trainings import resolved


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 255, (24, 1, 8, 8), dtype=np.uint8)
    y = (np.arange(24) % 3).astype(np.int64)
    return Dataset(x_train=x, y_train=y, x_test=x, y_test=y, class_names=tuple("abc"))


def trained(dataset: Dataset, directory: Path, **changes: object) -> Checkpoint:
    job = resolved(
        {
            "network": {"name": "convnet", "channels": [4]},
            "timesteps": 2,
            "epochs": 2,
            "batch_size": 8,
            **changes,
        }
    )
    list(train(job, dataset, directory, device="cpu"))
    return Checkpoint.read(directory / "checkpoint.safetensors")


def test_label_smoothing_by_hand() -> None:
    scores = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64)
    target = torch.tensor([[0.8 + 0.2 / 3, 0.2 / 3, 0.2 / 3]], dtype=torch.float64)
    cross = -(target * scores.log_softmax(1)).sum()
    squared = ((scores - target) ** 2).mean()
    loss = loss_function(Loss(mse_share=0.25, label_smoothing=0.2))
    expected = 0.75 * cross + 0.25 * squared
    torch.testing.assert_close(loss(scores, torch.tensor([0])), expected, rtol=1e-12, atol=0)


def test_the_moving_average_by_hand() -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    average = MovingAverage({"w": parameter}, 0.9)
    expected = 1.0
    for iteration, value in enumerate([3.0, -2.0, 5.0], start=1):
        with torch.no_grad():
            parameter.fill_(value)
        average.update(iteration)
        decay = (1 + iteration) / (10 + iteration)
        expected = decay * expected + (1 - decay) * value
    assert average.weights["w"].item() == pytest.approx(expected, rel=1e-12)
    average.update(10_000)
    assert average.weights["w"].item() == pytest.approx(0.9 * expected + 0.1 * 5, rel=1e-12)


def test_the_average_is_what_is_converted(dataset: Dataset, tmp_path: Path) -> None:
    checkpoint = trained(dataset, tmp_path, average_decay=0.99)
    folded = load_file(tmp_path / "lif.safetensors")["layer1.bias"]
    assert torch.equal(folded, checkpoint.average["layer1.bias"])
    assert not torch.equal(folded, checkpoint.weights["layer1.bias"])


def test_clipping_bounds_what_one_iteration_changes(dataset: Dataset, tmp_path: Path) -> None:
    changes: dict[str, object] = {
        "epochs": 1,
        "batch_size": 24,
        "optimizer": {"name": "sgd", "learning_rate": 1.0, "momentum": 0.0},
        "schedule": {"name": "constant"},
    }
    start = trained(dataset, tmp_path / "0", **{**changes, "max_gradient_norm": 1e-12}).weights
    for limit in (1e-3, 1e-2):
        end = trained(dataset, tmp_path / str(limit), **changes, max_gradient_norm=limit).weights
        moved = torch.cat([(end[name] - start[name]).flatten().double() for name in start]).norm()
        assert moved.item() == pytest.approx(limit, rel=1e-2)
