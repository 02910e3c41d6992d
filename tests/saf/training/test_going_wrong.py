"""Trainings that really go wrong: none of them is called a success without a word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.data.drawn import shapes
from saf.config import JobSpecification
from saf.data.dataset import Dataset
from saf.errors import DataError, DivergedError, SilentNetworkError, TrainingError
from saf.training.events import Finished
from saf.training.loop import train

QUICK: dict[str, Any] = {
    "network": {"name": "convnet", "channels": [8, 8]},
    "timesteps": 3,
    "epochs": 3,
    "batch_size": 16,
}
PUBLISHED = {"name": "sgd", "learning_rate": 0.1}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images() -> Dataset:
    return shapes(120, 80)


def ended(data: Dataset, directory: Path, **changes: Any) -> dict[str, Any]:
    """The summary of a training that came to its end."""
    job = JobSpecification.model_validate(QUICK | changes)
    *_, last = train(job, data, directory, device="cpu")
    assert isinstance(last, Finished)
    return last.summary


def outcome(data: Dataset, directory: Path, **changes: Any) -> dict[str, Any] | TrainingError:
    """The summary of a training, or what it failed with."""
    try:
        return ended(data, directory, **changes)
    except TrainingError as error:
        return error


def codes(summary: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in summary["findings"]]


@pytest.mark.parametrize("method", ["saf-e", "saf-f", "ottt-o", "spike-representation", "bptt"])
def test_a_rate_thirty_times_too_high_fails_or_is_found(
    images: Dataset, tmp_path: Path, method: str
) -> None:
    wild = {
        "optimizer": PUBLISHED | {"learning_rate": 3.0},
        "max_gradient_norm": None,
        "method": {"name": method},
    }
    found = outcome(images, tmp_path, **wild)
    if isinstance(found, TrainingError):
        assert isinstance(found, DivergedError | SilentNetworkError)
        assert "lower the learning rate (it is 3; try 0.0" in found.hint  # the usual one
        return
    assert found["health"] == "warning"
    assert codes(found)[0] in ("at_chance", "chance_not_excluded", "loss_rose")


def test_a_threshold_fifty_times_too_high_is_silent_and_the_threshold_that_is_named_works(
    images: Dataset, tmp_path: Path
) -> None:
    wrong: dict[str, Any] = {
        "network": QUICK["network"] | {"gain": 1.0},
        "neuron": {"threshold": 50.0},
    }
    with pytest.raises(SilentNetworkError, match="layer1 has not fired once") as caught:
        ended(images, tmp_path / "silent", **wrong)
    value = float(caught.value.hint.partition("neuron.threshold to ")[2].partition(",")[0])
    assert 0 < value < 50
    ended(images, tmp_path / "named", **wrong | {"neuron": {"threshold": value}})
    assert "network.gain" in caught.value.hint
    ended(images, tmp_path / "fitted", **wrong | {"network": QUICK["network"]})


def test_shuffled_labels_end_with_a_finding_that_stands_first(
    images: Dataset, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    shuffled = replace(images, y_train=generator.permutation(images.y_train), y_test=images.y_test)
    found = ended(shuffled, tmp_path)
    assert found["health"] == "warning"
    assert codes(found)[0] in ("at_chance", "chance_not_excluded")
    assert "test samples" in found["findings"][0]["message"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: replace(d, y_train=np.zeros_like(d.y_train)), "of the class 'class 0'"),
        (lambda d: replace(d, x_train=np.full_like(d.x_train, 7)), "are equal"),
    ],
)
def test_data_that_teaches_nothing_is_refused(
    images: Dataset, tmp_path: Path, change: Any, says: str
) -> None:
    with pytest.raises(DataError, match=says):
        ended(change(images), tmp_path)


def test_pixels_that_are_no_numbers_are_refused(images: Dataset) -> None:
    x = images.x_train.astype(np.float32) / 255
    generator = np.random.default_rng(0)
    x[generator.random(x.shape) < 0.01] = np.nan
    with pytest.raises(DataError, match="NaN"):
        replace(images, x_train=x, x_test=images.x_test.astype(np.float32) / 255)


def test_a_test_set_that_was_trained_on_is_told(images: Dataset, tmp_path: Path) -> None:
    leaking = replace(images, x_test=images.x_train, y_test=images.y_train)
    found = ended(leaking, tmp_path)
    assert "test_in_training" in codes(found)
    assert found["health"] == "warning"


def test_a_class_without_training_samples_is_told(images: Dataset, tmp_path: Path) -> None:
    """As where every other one of samples that stand in a regular order is taken."""
    rows = images.y_train % 2 == 0
    found = ended(
        replace(images, x_train=images.x_train[rows], y_train=images.y_train[rows]), tmp_path
    )
    (told,) = [each for each in found["findings"] if each["code"] == "empty_class"]
    assert told["message"].startswith("2 of 4 classes have no training sample (class 1, class 3)")


def test_one_step_without_leak_trains(images: Dataset, tmp_path: Path) -> None:
    found = ended(images, tmp_path, timesteps=1, neuron={"decay": 1.0}, epochs=8)
    assert found["train_accuracy"] > 0.4
    assert found["verdict"] == "measured"


@pytest.mark.parametrize("side", [0, 1])
def test_a_network_without_a_spike_never_succeeds_whatever_the_classes(
    images: Dataset, tmp_path: Path, side: int
) -> None:
    """Nineteen in twenty of one class: naming it is right nearly always."""
    y_train, y_test = images.y_train.copy(), images.y_test.copy()
    for y in (y_train, y_test):
        y[:] = side
        y[::20] = 1 - side
    uneven = replace(images, y_train=y_train, y_test=y_test)
    silent: dict[str, Any] = {
        "network": {"name": "mlp", "features": [8], "gain": 1e-3},
        "optimizer": {"name": "adamw", "learning_rate": 1e-3},
        "neuron": {"surrogate": {"name": "rectangle", "slope": 100}},
    }
    with pytest.raises(SilentNetworkError, match="has not fired"):
        ended(uneven, tmp_path, **silent)


def test_a_layer_that_dies_after_an_epoch_is_put_down_to_the_learning_rate(
    images: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bias of the second layer is pulled far below the threshold after the first epoch."""
    from saf.training.trainer import Trainer

    validate = Trainer.validate

    def kill(self: Trainer) -> dict[str, float]:
        found = validate(self)
        self.network.get_parameter("layer2.bias").data.fill_(-1e6)
        return found

    monkeypatch.setattr(Trainer, "validate", kill)
    calm = {"optimizer": {"name": "sgd", "learning_rate": 1e-9}, "conversion": {"weights": "last"}}
    with pytest.raises(SilentNetworkError, match="layer2 fired until epoch 1") as caught:
        ended(images, tmp_path, **calm)
    assert "lower the learning rate (it is 1e-09" in caught.value.hint


def test_the_best_epoch_saves_a_training_that_collapses(
    images: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saf.training.trainer import Trainer

    validate = Trainer.validate

    def kill(self: Trainer) -> dict[str, float]:
        found = validate(self)
        if len(self.progress.history) == 6:
            self.network.get_parameter("readout.bias").data[0] = 8.0
        return found

    monkeypatch.setattr(Trainer, "validate", kill)
    found = ended(images, tmp_path, epochs=8)
    assert found["delivered_epoch"] <= 6
    assert found["test_accuracy"] > 0.3
    assert {"collapsed_after_the_best_epoch", "loss_rose"} & set(codes(found))


def test_a_grid_that_costs_the_accuracy_stands_first(images: Dataset, tmp_path: Path) -> None:
    found = ended(images, tmp_path, epochs=10, conversion={"grid_bits": 1})
    assert found["verdict"] == "differs"
    assert codes(found)[0] == "conversion_differs"
    assert f"{found['lif_accuracy']:.2%}" in found["findings"][0]["message"]


@pytest.mark.parametrize("conversion", [{}, {"grid_bits": 8}, {"weight_bits": 6}])
def test_a_network_may_be_silent_on_the_only_test_sample(
    conversion: dict[str, Any], tmp_path: Path
) -> None:
    """Nothing happens in it, on which saying nothing is right; elsewhere the network fires."""
    generator = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = 255 * (generator.random((60, 3, 1, 6, 6)) < 0.05) * y[:, None, None, None, None]
    data = Dataset(
        x_train=x.astype(np.uint8),
        y_train=y,
        x_test=np.zeros((1, 3, 1, 6, 6), np.uint8),
        y_test=np.zeros(1, np.int64),
        class_names=("still", "moving"),
    )
    changes = {"network": {"name": "mlp", "features": [16]}, "epochs": 6, "batch_size": 4}
    summary = ended(data, tmp_path, **changes, conversion=conversion)
    assert summary["train_accuracy"] > 0.8
    assert summary["test_accuracy"] == summary["lif_accuracy"] == 1.0
    assert "silent_layers" in codes(summary)
