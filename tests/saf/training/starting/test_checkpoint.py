"""Checkpoints: whole, checked, and enough to go on bit-exactly."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saf.config import ResolvedSpecification
from saf.data import BUILTIN
from saf.data.dataset import Dataset
from saf.errors import UserConfigError
from saf.networks.convnet import ConvNet
from saf.training import checkpoint as checkpoints
from saf.training.checkpoint import Checkpoint, Progress
from saf.training.events import Checkpoint as CheckpointReport
from saf.training.events import Epoch, Finished, Report, Started, Step
from saf.training.loop import train
from tests.saf.kernels.compiler import needs_compiler
from tests.saf.training.trainings import resolved


def small_checkpoint(step: int = 7) -> Checkpoint:
    return Checkpoint(
        specification=resolved(seed=3),
        dataset="ab" * 32,
        progress=Progress(step=step, history=[{"train_loss": 0.1 + 0.2}], sums={"loss": 1 / 3}),
        weights={"layer1.0.weight": torch.arange(6.0).view(2, 3) / 7},
        average={"layer1.0.weight": torch.arange(6.0).view(2, 3) / 9},
        best={"layer1.0.weight": torch.arange(6.0).view(2, 3) / 11},
        optimizer={
            "layer1.0.weight": {"momentum_buffer": torch.ones(2, 3), "step": torch.tensor(7.0)}
        },
    )


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """26 training samples of three classes that can be told apart."""
    generator = np.random.default_rng(0)

    def half(samples: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.arange(samples) % 3
        x = generator.integers(0, 120, (samples, 1, 8, 8), dtype=np.uint8)
        for number, label in enumerate(y):
            x[number, :, :, 3 * label : 3 * label + 2] += 120
        return x, y.astype(np.int64)

    (x_train, y_train), (x_test, y_test) = half(26), half(12)
    return Dataset(
        x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test, class_names=tuple("abc")
    )


def specification(optimizer: str = "sgd", **changes: Any) -> ResolvedSpecification:
    rate = 0.05 if optimizer == "sgd" else 0.003
    values: dict[str, Any] = {
        "network": {"name": "convnet", "channels": [4, 4]},
        "method": {"name": "saf-e"},
        "timesteps": 3,
        "epochs": 3,
        "batch_size": 6,
        "optimizer": {"name": optimizer, "learning_rate": rate, "weight_decay": 0.01},
        "schedule": {"name": "cosine", "warmup_epochs": 0.7},
        "augment": ["crop", "flip", "cutout"],
        "max_gradient_norm": 1.0,
        "average_decay": 0.9,
        "loss": {"label_smoothing": 0.1},
        "seed": 5,
    }
    return resolved(values | changes)


def after(steps: int) -> Any:
    """A `stop` that says True when asked for the `steps`-th time."""
    asked = count(1)
    return lambda: next(asked) >= steps


def final_tensors(directory: Path) -> dict[str, Tensor]:
    found = Checkpoint.read(directory / "checkpoint.safetensors")
    tensors = dict(found.weights)
    tensors |= {f"average/{name}": tensor for name, tensor in found.average.items()}
    for name, buffers in found.optimizer.items():
        tensors |= {f"{name}/{key}": buffer for key, buffer in buffers.items()}
    return tensors


def assert_same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_everything_comes_back_as_it_was(tmp_path: Path) -> None:
    saved = small_checkpoint()
    saved.write(tmp_path / "c.safetensors")
    read = Checkpoint.read(tmp_path / "c.safetensors")
    assert read.specification == saved.specification
    assert read.progress == saved.progress
    assert read.dataset == saved.dataset
    assert_same_bits(read.weights, saved.weights)
    assert_same_bits(read.average, saved.average)
    assert_same_bits(read.optimizer["layer1.0.weight"], saved.optimizer["layer1.0.weight"])
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10, 30):
        checkpoints.save(small_checkpoint(step), tmp_path)
    assert [step for step, _ in checkpoints.steps(tmp_path)] == [30, 10]


def test_a_failed_write_leaves_the_old_file_and_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.safetensors"
    small_checkpoint(1).write(path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        small_checkpoint(2).write(path)
    assert Checkpoint.read(path).progress.step == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "foreign"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    damage: str, tmp_path: Path
) -> None:
    checkpoints.save(small_checkpoint(1), tmp_path)
    last = checkpoints.save(small_checkpoint(2), tmp_path)
    content = bytearray(last.read_bytes())
    if damage == "bit":
        content[-5] ^= 4
    damaged = {"cut": content[:-9], "bit": content, "empty": b"", "foreign": b"a" * 99}
    last.write_bytes(bytes(damaged[damage]))
    found, passed_over = checkpoints.newest(tmp_path)
    assert found is not None
    assert found.progress.step == 1
    assert len(passed_over) == 1
    assert last.name in passed_over[0]
    assert checkpoints.newest(last)[0] is not None


def test_a_named_checkpoint_is_read_although_there_are_newer_ones(tmp_path: Path) -> None:
    first = checkpoints.save(small_checkpoint(1), tmp_path)
    checkpoints.save(small_checkpoint(2), tmp_path)
    found, _ = checkpoints.newest(first)
    assert found is not None
    assert found.progress.step == 1


def test_no_checkpoint_at_all_is_no_error(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path) == (None, [])
    assert checkpoints.newest(tmp_path / "missing")[0] is None


def test_weights_of_another_network_are_not_restored() -> None:
    parameters = {"layer1.0.weight": torch.nn.Parameter(torch.zeros(3, 3))}
    optimizer = torch.optim.SGD(parameters.values(), lr=0.1)
    with pytest.raises(ValueError, match=r"is torch\.float32 \(2, 3\) in the checkpoint"):
        checkpoints.restore(small_checkpoint(), optimizer, parameters)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_buffers_of_single_numbers_go_to_the_device_of_their_parameter(
    optimizer: Callable[..., torch.optim.Optimizer],
) -> None:
    """A residual gain is one number, and so are its buffers; `meta` stands for a GPU."""
    gain = torch.nn.Parameter(torch.tensor(0.5))
    more = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
    trained = optimizer([gain], lr=0.1, **more)
    gain.grad = torch.tensor(1.0)
    trained.step()
    saved = replace(
        small_checkpoint(),
        weights={"block1.residual_gain": gain.detach()},
        optimizer=checkpoints.optimizer_buffers(trained, {"block1.residual_gain": gain}),
    )
    there = torch.nn.Parameter(torch.zeros((), device="meta"))
    resumed = torch.optim.SGD([there], lr=0.1)
    checkpoints.restore(saved, resumed, {"block1.residual_gain": there})
    devices = {key: value.device.type for key, value in resumed.state[there].items()}
    assert devices.pop("step", "cpu") == "cpu"
    assert devices
    assert set(devices.values()) == {"meta"}


@pytest.fixture(scope="module")
def undisturbed(
    dataset: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Tensor]]:
    """Final weights and optimizer buffers of runs that nobody interrupts, by optimizer."""
    found = {}
    for optimizer in ("sgd", "adamw"):
        directory = tmp_path_factory.mktemp(optimizer)
        *_, last = train(specification(optimizer), dataset, directory, device="cpu")
        assert isinstance(last, Finished)
        found[optimizer] = final_tensors(directory)
    return found


# 26 samples in batches of 6 are 5 iterations an epoch: inside the first epoch, at its end, inside
# the last one, and after the last iteration.
@pytest.mark.slow
@pytest.mark.parametrize("stopped_at", [1, 5, 13, 15])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_training_stopped_and_resumed_ends_with_the_bits_of_the_undisturbed_one(
    optimizer: str,
    stopped_at: int,
    dataset: Dataset,
    undisturbed: dict[str, dict[str, Tensor]],
    tmp_path: Path,
) -> None:
    job = specification(optimizer)
    first = list(train(job, dataset, tmp_path / "1", device="cpu", stop=after(stopped_at)))
    last = first[-1]
    assert isinstance(last, CheckpointReport)
    assert last.step == stopped_at
    assert not any(isinstance(report, Finished) for report in first)

    second = list(train(job, dataset, tmp_path / "2", device="cpu", resume_from=last.path))
    started = second[0]
    assert isinstance(started, Started)
    assert started.step == stopped_at
    assert isinstance(second[-1], Finished)
    assert_same_bits(final_tensors(tmp_path / "2"), undisturbed[optimizer])


@needs_compiler
def test_a_training_with_transforms_in_cpp_goes_on_with_them(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saf.training.hardware.backends.FEWEST_PRODUCTS", 1)
    job = specification(network={"name": "convnet", "channels": [48, 48]}, batch_size=13)
    *_, last = train(job, dataset, tmp_path / "whole", device="cpu")
    assert isinstance(last, Finished)
    whole = final_tensors(tmp_path / "whole")
    *_, stopped = train(job, dataset, tmp_path / "1", device="cpu", stop=after(4))
    assert isinstance(stopped, CheckpointReport)
    assert Checkpoint.read(stopped.path).progress.native is True
    *_, last = train(job, dataset, tmp_path / "2", device="cpu", resume_from=stopped.path)
    assert isinstance(last, Finished)
    assert_same_bits(final_tensors(tmp_path / "2"), whole)
    assert json.loads((tmp_path / "2" / "report.json").read_text())["in_cpp"] is True

    monkeypatch.setattr(
        "saf.training.hardware.backends.compiled", lambda: None
    )  # a machine without a compiler
    *_, last = train(job, dataset, tmp_path / "3", device="cpu")
    assert isinstance(last, Finished)
    name = "layer2.0.weight"
    without = final_tensors(tmp_path / "3")[name]
    assert not torch.equal(without, whole[name])  # they were used
    torch.testing.assert_close(without, whole[name], rtol=1e-2, atol=1e-2)


OF_THE_MACHINE = ("step_seconds", "memory_bytes", "device_use")


def numbers(reports: list[Report]) -> list[tuple[int, dict[str, float]]]:
    return [
        (report.step, {k: v for k, v in report.metrics.items() if k not in OF_THE_MACHINE})
        for report in reports
        if isinstance(report, Step | Epoch)
    ]


def test_reports_of_both_parts_are_those_of_the_undisturbed_run(
    dataset: Dataset, tmp_path: Path
) -> None:
    job = specification()
    whole = list(train(job, dataset, tmp_path / "whole", device="cpu"))
    first = list(train(job, dataset, tmp_path / "1", device="cpu", stop=after(7)))
    second = list(
        train(
            job, dataset, tmp_path / "2", device="cpu", resume_from=tmp_path / "1" / "checkpoints"
        )
    )
    assert numbers(first) + numbers(second) == numbers(whole)


@pytest.mark.slow
def test_resuming_passes_over_a_damaged_checkpoint(
    dataset: Dataset, undisturbed: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    job = specification()
    *_, last = train(job, dataset, tmp_path, device="cpu", stop=after(12))
    assert isinstance(last, CheckpointReport)
    last.path.write_bytes(last.path.read_bytes()[:-1])
    reports = list(train(job, dataset, tmp_path, device="cpu", resume_from=last.path))
    assert isinstance(reports[0], Started)
    assert reports[0].step == 10
    assert_same_bits(final_tensors(tmp_path), undisturbed["sgd"])


def test_with_no_readable_checkpoint_the_training_begins_anew(
    dataset: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "step-000000000009.safetensors").write_bytes(b"nothing")
    reports = train(specification(), dataset, tmp_path / "run", device="cpu", resume_from=tmp_path)
    started = next(reports)
    assert isinstance(started, Started)
    assert started.step == 0


@pytest.mark.parametrize(
    ("change", "named"), [({"timesteps": 4}, "timesteps"), ({"seed": 6}, "seed")]
)
def test_a_checkpoint_of_another_specification_is_refused(
    change: dict[str, Any], named: str, dataset: Dataset, tmp_path: Path
) -> None:
    *_, last = train(specification(), dataset, tmp_path, device="cpu", stop=after(1))
    assert isinstance(last, CheckpointReport)
    with pytest.raises(UserConfigError, match=f"another {named}"):
        next(train(specification(**change), dataset, tmp_path, resume_from=last.path))


def test_name_priority_and_time_limit_may_change_between_attempts(
    dataset: Dataset, tmp_path: Path
) -> None:
    *_, last = train(specification(), dataset, tmp_path, device="cpu", stop=after(2))
    assert isinstance(last, CheckpointReport)
    job = specification(name="again", priority=1, max_runtime_seconds=3600, metadata={"a": "b"})
    started = next(train(job, dataset, tmp_path, device="cpu", resume_from=last.path))
    assert isinstance(started, Started)
    assert started.step == 2


def test_a_checkpoint_of_other_data_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    *_, last = train(specification(), dataset, tmp_path, device="cpu", stop=after(1))
    assert isinstance(last, CheckpointReport)
    other = Dataset(
        x_train=dataset.x_train[::-1].copy(),
        y_train=dataset.y_train,
        x_test=dataset.x_test,
        y_test=dataset.y_test,
        class_names=dataset.class_names,
    )
    with pytest.raises(UserConfigError, match="other training data"):
        next(train(specification(), other, tmp_path, resume_from=last.path))


def test_a_long_epoch_gets_checkpoints_by_time(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saf.training.loop.CHECKPOINT_SECONDS", 0.0)
    reports = list(train(specification(epochs=1), dataset, tmp_path, device="cpu"))
    saved = [report.step for report in reports if isinstance(report, CheckpointReport)]
    assert saved == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_the_same_data_in_another_layout_trains_to_the_same_bits(tmp_path: Path) -> None:
    """An axis with one entry may have any stride, and those of the built-in digits are unusual."""
    digits = BUILTIN["digits"]()
    copied = dataclasses.replace(digits, x_train=digits.x_train.copy(), x_test=digits.x_test.copy())
    assert copied.x_train.strides != digits.x_train.strides
    job = resolved(epochs=1, augment=(), network=ConvNet(channels=(8, 8)))
    weights = []
    for number, data in enumerate((digits, copied)):
        list(train(job, data, tmp_path / str(number), device="cpu"))
        weights.append((tmp_path / str(number) / "lif.safetensors").read_bytes())
    assert weights[0] == weights[1]
