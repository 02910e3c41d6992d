"""A training that goes on after its end, and one that starts from the weights of another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saf import config
from saf.config import ResolvedSpecification
from saf.data.dataset import Dataset
from saf.errors import UserConfigError
from saf.training.checkpoint import Checkpoint
from saf.training.events import Checkpoint as CheckpointReport
from saf.training.events import Epoch, Evaluation, Finished, Report, Started, Step
from saf.training.loop import train
from saf.training.optimisation.schedule import learning_rate
from saf.training.trainer import Trainer
from tests.saf.training.test_meta_device import run_until_read
from tests.saf.training.trainings import dataset, labelled, run, specification

METHODS = sorted(str(model.model_fields["name"].default) for model in config.METHODS)
ADAMW = {"name": "adamw", "learning_rate": 0.002, "weight_decay": 0.1}

pytestmark = pytest.mark.slow


def left(directory: Path) -> Path:
    return directory / "checkpoint.safetensors"


def of_classes(classes: int, *shape: int) -> Dataset:
    """Samples of the tests' data, with other labels."""
    shape = shape or (1, 8, 8)
    (x_train, _), (x_test, _) = labelled(26, *shape), labelled(12, *shape)
    return Dataset(
        x_train=x_train,
        y_train=np.arange(26) % classes,
        x_test=x_test,
        y_test=np.arange(12) % classes,
        class_names=tuple(f"class {number}" for number in range(classes)),
    )


def after(iterations: int) -> Callable[[], bool]:
    asked = iter(range(iterations))
    return lambda: next(asked, iterations) >= iterations - 1


def going_on(
    job: ResolvedSpecification, source: Path, directory: Path, data: Dataset, **how: Any
) -> list[Report]:
    return list(train(job, data, directory, device="cpu", resume_from=source, **how))


def starting(
    job: ResolvedSpecification, source: Path, directory: Path, data: Dataset
) -> list[Report]:
    return list(train(job, data, directory, device="cpu", init_from=source))


def epochs(reports: list[Report]) -> list[int]:
    return [report.epoch for report in reports if isinstance(report, Epoch)]


def first(reports: list[Report], kind: type[Report]) -> Any:
    return next(report for report in reports if isinstance(report, kind))


def test_metrics(reports: list[Report]) -> dict[str, float]:
    found = [r.metrics for r in reports if isinstance(r, Evaluation) and "test_loss" in r.metrics]
    return found[-1]


test_metrics.__test__ = False  # type: ignore[attr-defined]


def assert_same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def assert_same_training(one: Path, other: Path) -> None:
    a, b = Checkpoint.read(left(one)), Checkpoint.read(left(other))
    assert_same_bits(a.weights, b.weights)
    assert_same_bits(a.average, b.average)
    assert_same_bits(a.best, b.best)
    assert a.optimizer.keys() == b.optimizer.keys()
    for name in a.optimizer:
        assert_same_bits(a.optimizer[name], b.optimizer[name])
    assert a.progress.best_epoch == b.progress.best_epoch
    assert len(a.progress.history) == len(b.progress.history)


# More epochs


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"optimizer": ADAMW, "average_decay": 0.9, "validation_share": 0.3},
    ],
    ids=["sgd", "adamw, average, validation"],
)
def test_more_epochs_are_those_of_a_training_that_was_killed_in_the_middle_of_them(
    method: str, more: dict[str, Any], tmp_path: Path
) -> None:
    asked = {"method": {"name": method}, **more}
    data = dataset()
    run(specification(epochs=1, **asked), data, tmp_path / "short")
    longer = specification(epochs=3, schedule={"start_epoch": 1}, **asked)
    whole = going_on(longer, left(tmp_path / "short"), tmp_path / "whole", data)
    assert epochs(whole) == [2, 3]
    *_, killed = going_on(longer, left(tmp_path / "short"), tmp_path / "part", data, stop=after(3))
    assert isinstance(killed, CheckpointReport)
    assert killed.step > first(whole, Started).step
    resumed = going_on(longer, killed.path, tmp_path / "rest", data)
    assert epochs(resumed)[-1] == 3
    assert_same_training(tmp_path / "whole", tmp_path / "rest")


def test_with_a_constant_rate_more_epochs_are_those_of_a_longer_training(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"schedule": {"name": "constant"}, "average_decay": 0.9}
    data = dataset()
    run(specification(epochs=2, **asked), data, tmp_path / "short")
    longer = specification(epochs=4, **asked)
    run(longer, data, tmp_path / "whole")
    going_on(longer, left(tmp_path / "short"), tmp_path / "on", data)
    assert_same_training(tmp_path / "whole", tmp_path / "on")


def test_the_schedule_begins_anew_where_the_training_ended(tmp_path: Path) -> None:
    data = dataset()
    run(specification(epochs=2), data, tmp_path / "short")
    schedule = {"start_epoch": 2, "warmup_epochs": 0.4}
    longer = specification(
        epochs=4, schedule=schedule, optimizer={"name": "sgd", "learning_rate": 0.02}
    )
    reports = going_on(longer, left(tmp_path / "short"), tmp_path / "on", data)
    rates = [r.metrics["learning_rate"] for r in reports if isinstance(r, Step)]
    assert rates[:2] == [pytest.approx(0.01), pytest.approx(0.02)]
    assert rates[-1] < 0.005
    alone = specification(epochs=2, schedule={"warmup_epochs": 0.4}, optimizer=longer.optimizer)
    assert rates == [learning_rate(alone, step, 5) for step in range(10)]


def test_a_training_that_ended_early_goes_on_also_for_fewer_epochs_than_it_had(
    tmp_path: Path,
) -> None:
    data = dataset()
    asked: dict[str, Any] = {
        "validation_share": 0.3,
        "patience": 1,
        "optimizer": {"name": "sgd", "learning_rate": 1e-20},
    }
    early = run(specification(epochs=9, **asked), data, tmp_path / "early")
    done = epochs(early)[-1]
    assert done < 9
    again = going_on(
        specification(epochs=9, **asked), left(tmp_path / "early"), tmp_path / "again", data
    )
    assert epochs(again) == []  # taken up again as it is, it stays ended
    assert isinstance(again[-1], Finished)
    longer = specification(
        epochs=done + 3, schedule={"start_epoch": done}, **{**asked, "patience": 2}
    )
    reports = going_on(longer, left(tmp_path / "early"), tmp_path / "on", data)
    # Its patience counts from where it went on: two epochs that were no better.
    assert epochs(reports) == [done + 1, done + 2]


def test_the_best_weights_of_the_first_part_stay_the_best_until_they_are_beaten(
    tmp_path: Path,
) -> None:
    data = dataset()
    asked: dict[str, Any] = {"validation_share": 0.3}
    source = run(specification(epochs=3, **asked), data, tmp_path / "short")
    before = Checkpoint.read(left(tmp_path / "short"))
    assert before.progress.best_epoch > 0
    still = {"name": "sgd", "learning_rate": 1e-12, "momentum": 0.9}
    longer = specification(
        epochs=5, schedule={"start_epoch": 3}, **asked, optimizer=still
    ).model_copy(update={"conversion": config.Conversion(weights="best")})
    # Nothing is learnt, so no epoch is better.
    reports = going_on(longer, left(tmp_path / "short"), tmp_path / "on", data)
    now = Checkpoint.read(left(tmp_path / "on"))
    assert epochs(reports) == [4, 5]
    assert now.progress.best_epoch == before.progress.best_epoch
    assert_same_bits(now.best, before.best)
    assert test_metrics(reports) == test_metrics(source)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"timesteps": 4}, "another timesteps"),
        ({"batch_size": 5}, "another epochs, batch_size"),
        ({"optimizer": {"name": "adamw"}}, "another optimizer"),
        ({"optimizer": {"name": "sgd", "momentum": 0.1}}, "another optimizer"),
        ({"epochs": 1}, "2 epochs behind it, and epochs is 1"),
        ({"schedule": {"start_epoch": 3}}, "start_epoch is 3, and the checkpoint has 2 epochs"),
    ],
)
def test_what_may_not_change_after_the_end_is_refused_in_words(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    data = dataset()
    run(specification(epochs=2), data, tmp_path / "short")
    longer = specification(**{"epochs": 4, **change})
    with pytest.raises(UserConfigError, match=said):
        going_on(longer, left(tmp_path / "short"), tmp_path / "on", data)


def test_other_epochs_are_refused_in_the_middle_of_a_training(tmp_path: Path) -> None:
    data = dataset()
    *_, stopped = train(specification(), data, tmp_path, device="cpu", stop=after(3))
    assert isinstance(stopped, CheckpointReport)
    with pytest.raises(UserConfigError, match="another epochs"):
        going_on(specification(epochs=4), stopped.path, tmp_path / "on", data)


def test_a_schedule_of_a_later_epoch_is_refused_without_the_training_before_it(
    tmp_path: Path,
) -> None:
    job = specification(epochs=4, schedule={"start_epoch": 2, "warmup_epochs": 1})
    with pytest.raises(UserConfigError, match="2 epochs were done before, and there is no"):
        run(job, dataset(), tmp_path)


def test_other_data_are_refused(tmp_path: Path) -> None:
    run(specification(epochs=1), dataset(), tmp_path / "short")
    with pytest.raises(UserConfigError, match="other training data"):
        going_on(specification(), left(tmp_path / "short"), tmp_path / "on", of_classes(4))


def test_the_time_of_the_training_before_does_not_count(tmp_path: Path) -> None:
    data = dataset()
    run(specification(epochs=2), data, tmp_path / "short")
    before = Checkpoint.read(left(tmp_path / "short")).progress.counted_seconds()
    longer = specification(epochs=3, max_runtime_seconds=1e6)
    reports = going_on(longer, left(tmp_path / "short"), tmp_path / "on", data, inherited=True)
    assert isinstance(reports[-1], Finished)
    progress = Checkpoint.read(left(tmp_path / "on")).progress
    assert progress.earlier_seconds == pytest.approx(before)


# The weights of another training


@pytest.mark.parametrize("average", [None, 0.9])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_training_starts_with_the_network_that_the_other_one_delivered(
    share: float, average: float | None, tmp_path: Path
) -> None:
    data = dataset()
    asked: dict[str, Any] = {"validation_share": share, "average_decay": average}
    best = config.Conversion(weights="best")
    job = specification(epochs=3, conversion=best, **asked)
    source = run(job, data, tmp_path / "source")
    still = specification(
        epochs=1,
        conversion=best,
        init={"job": "source"},
        optimizer={"name": "sgd", "learning_rate": 1e-12},
        seed=9,
        **{**asked, "validation_share": 0.0},
    )
    found = test_metrics(starting(still, left(tmp_path / "source"), tmp_path / "new", data))
    expected = test_metrics(source)
    assert found["test_accuracy"] == expected["test_accuracy"]
    assert found["test_loss"] == pytest.approx(expected["test_loss"], abs=1e-6)


def test_the_first_weights_are_those_of_the_best_epoch_bit_for_bit(tmp_path: Path) -> None:
    data = dataset()
    run(specification(epochs=3, validation_share=0.3), data, tmp_path / "source")
    saved = Checkpoint.read(left(tmp_path / "source"))
    trainer = begun(specification(init={"job": "j"}), left(tmp_path / "source"), data)
    assert_same_bits({n: p.detach() for n, p in trainer.parameters.items()}, saved.best)


def begun(job: ResolvedSpecification, source: Path, data: Dataset) -> Trainer:
    from saf.networks.build import build

    architecture = build(job.network, data.sample_shape, data.classes)
    cpu = torch.device("cpu")
    return Trainer(job, data, architecture, cpu, resume_from=None, init_from=source)


@pytest.mark.parametrize("classes", [2, 5])
def test_other_classes_get_a_new_readout_and_keep_every_other_layer(
    classes: int, tmp_path: Path
) -> None:
    run(specification(epochs=2), dataset(), tmp_path / "source")
    source = Checkpoint.read(left(tmp_path / "source")).weights
    data = of_classes(classes)
    job = specification(init={"job": "j"}, seed=5)
    trainer = begun(job, left(tmp_path / "source"), data)
    anew = dict(drawn(specification(seed=5), data).named_parameters())
    for name, parameter in trainer.parameters.items():
        expected = anew[name] if name.startswith("readout.") else source[name]
        assert torch.equal(parameter, expected), name
    reports = starting(job, left(tmp_path / "source"), tmp_path / "new", data)
    assert isinstance(reports[-1], Finished)


def drawn(job: ResolvedSpecification, data: Dataset) -> torch.nn.Module:
    from saf.model.network import network_of
    from saf.networks.build import build

    architecture = build(job.network, data.sample_shape, data.classes)
    return network_of(job, architecture, mean=[0.5], std=[0.5])


@pytest.mark.parametrize(
    ("network", "shape", "said"),
    [
        ({}, (1, 16, 16), "readout.0.weight"),
        ({}, (3, 8, 8), "layer1.0.weight"),
        ({"channels": [4, 6]}, (1, 8, 8), r"channels \[4, 4\] and not \[4, 6\]"),
        ({"channels": [4, 4, 4]}, (1, 8, 8), "channels"),
        ({"name": "mlp", "channels": None, "features": [5]}, (1, 8, 8), "name convnet and not mlp"),
    ],
    ids=["size", "channels", "width", "depth", "network"],
)
def test_another_network_is_refused_in_words(
    network: dict[str, Any], shape: tuple[int, ...], said: str, tmp_path: Path
) -> None:
    run(specification(epochs=1), dataset(), tmp_path / "source")
    chosen = {"name": "convnet", "channels": [4, 4], **network}
    chosen = {key: value for key, value in chosen.items() if value is not None}
    job = specification(network=chosen, init={"job": "j"})
    with pytest.raises(UserConfigError, match=said):
        starting(job, left(tmp_path / "source"), tmp_path / "new", of_classes(3, *shape))


def test_gains_method_and_neuron_may_be_others(tmp_path: Path) -> None:
    run(specification(epochs=1), dataset(), tmp_path / "source")
    job = specification(
        network={"name": "convnet", "channels": [4, 4], "gain": "auto"},
        method={"name": "ottt-o"},
        neuron={"decay": 0.7, "threshold": 0.9},
        timesteps=2,
        epochs=1,
        precision="float64",
        init={"job": "j"},
    )
    reports = starting(job, left(tmp_path / "source"), tmp_path / "new", dataset())
    assert isinstance(reports[-1], Finished)
    assert Checkpoint.read(left(tmp_path / "new")).progress.gains == {}


def test_a_checkpoint_that_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    job = specification(init={"job": "j"})
    with pytest.raises(UserConfigError, match="there is no checkpoint of it"):
        run(job, dataset(), tmp_path)
    with pytest.raises(UserConfigError, match="cannot be read"):
        starting(job, tmp_path / "nowhere.safetensors", tmp_path, dataset())
    (tmp_path / "odd.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserConfigError, match="cannot be read"):
        starting(job, tmp_path / "odd.safetensors", tmp_path, dataset())


def test_resuming_goes_on_from_its_own_checkpoint_and_not_from_the_first_weights(
    tmp_path: Path,
) -> None:
    data = dataset()
    run(specification(epochs=1), data, tmp_path / "source")
    job = specification(epochs=2, init={"job": "j", "freeze": ["layer1"]}, average_decay=0.9)
    starting(job, left(tmp_path / "source"), tmp_path / "whole", data)
    *_, killed = train(
        job,
        data,
        tmp_path / "part",
        device="cpu",
        init_from=left(tmp_path / "source"),
        stop=after(4),
    )
    assert isinstance(killed, CheckpointReport)
    going_on(job, killed.path, tmp_path / "rest", data)
    assert_same_training(tmp_path / "whole", tmp_path / "rest")


# Frozen layers


@pytest.mark.parametrize("freeze", [["layer1"], ["layer2"], ["*"], ["readout"], ["layer*"]])
@pytest.mark.parametrize("method", METHODS)
def test_frozen_layers_keep_their_bits_and_the_others_learn(
    method: str, freeze: list[str], tmp_path: Path
) -> None:
    data = dataset()
    run(specification(epochs=1), data, tmp_path / "source")
    job = specification(
        epochs=2,
        method={"name": method},
        optimizer=ADAMW,
        max_gradient_norm=1.0,
        average_decay=0.9,
        validation_share=0.3,
        init={"job": "j", "freeze": freeze},
    )
    source = Checkpoint.read(left(tmp_path / "source")).weights
    starting(job, left(tmp_path / "source"), tmp_path / "new", data)
    found = Checkpoint.read(left(tmp_path / "new"))
    kept = {
        "layer1": {"layer1"},
        "layer2": {"layer2"},
        "*": {"layer1", "layer2"},
        "layer*": {"layer1", "layer2"},
        "readout": {"readout"},
    }[freeze[0]]
    for name, before in source.items():
        for now in (found.weights[name], found.average[name], found.best[name]):
            assert torch.equal(now, before) == (name.partition(".")[0] in kept), name
    assert {name.partition(".")[0] for name in found.optimizer}.isdisjoint(kept)


@pytest.mark.parametrize("optimizer", [{"name": "sgd", "weight_decay": 0.5}, ADAMW])
@pytest.mark.parametrize("parts", [1, 2])
def test_weight_decay_leaves_frozen_layers_alone(
    optimizer: dict[str, Any], parts: int, tmp_path: Path
) -> None:
    data = dataset()
    run(specification(epochs=1), data, tmp_path / "source")
    job = specification(
        optimizer=optimizer, micro_batches=parts, init={"job": "j", "freeze": ["layer1"]}
    )
    starting(job, left(tmp_path / "source"), tmp_path / "new", data)
    source, found = (Checkpoint.read(left(tmp_path / n)).weights for n in ("source", "new"))
    names = [name for name in source if name.startswith("layer1.")]
    assert len(names) > 1
    assert_same_bits({n: source[n] for n in names}, {n: found[n] for n in names})


@pytest.mark.parametrize(
    ("network", "freeze", "kept"),
    [
        ({"name": "mlp", "features": [6, 5]}, ["layer1"], ["layer1"]),
        ({"name": "resnet18", "width": 0.05}, ["stage1*", "stem"], None),
        ({"name": "mobilenet", "width": 0.05}, ["*"], None),
    ],
    ids=["mlp", "resnet18", "mobilenet"],
)
def test_layers_of_other_networks_are_frozen_by_their_names(
    network: dict[str, Any], freeze: list[str], kept: list[str] | None, tmp_path: Path
) -> None:
    data = dataset()
    plain = specification(network=network, epochs=1, timesteps=2)
    run(plain, data, tmp_path / "source")
    trainer = begun(plain, left(tmp_path / "source"), data)
    layers = list(dict.fromkeys(name.partition(".")[0] for name in trainer.parameters))
    if kept is None:
        kept = layers[:-1] if freeze == ["*"] else layers[: len(layers) // 3]
        freeze = freeze if freeze == ["*"] else kept
    job = specification(network=network, epochs=1, timesteps=2, init={"job": "j", "freeze": freeze})
    starting(job, left(tmp_path / "source"), tmp_path / "new", data)
    source, found = (Checkpoint.read(left(tmp_path / n)).weights for n in ("source", "new"))
    same = {name.partition(".")[0] for name in source if torch.equal(source[name], found[name])}
    moved = {
        name.partition(".")[0] for name in source if not torch.equal(source[name], found[name])
    }
    assert set(kept) <= same
    assert moved.isdisjoint(kept)
    assert layers[-1] in moved


@pytest.mark.parametrize(
    ("freeze", "said"),
    [
        (["layer1", "stage*"], '"stage\\*", and the network has no such layer'),
        (["layer*", "readout"], "leaves nothing to train"),
        (["*", "readout"], "leaves nothing to train"),
        (["readout", "*"], "leaves nothing to train"),
    ],
)
def test_freezing_no_layer_or_all_of_them_is_refused(
    freeze: list[str], said: str, tmp_path: Path
) -> None:
    run(specification(epochs=1), dataset(), tmp_path / "source")
    job = specification(init={"job": "j", "freeze": freeze})
    with pytest.raises(UserConfigError, match=said):
        starting(job, left(tmp_path / "source"), tmp_path / "new", dataset())


@pytest.mark.parametrize("freeze", [[], ["layer1"], ["*"], ["readout"]], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_left_on_the_host_where_layers_are_frozen(
    method: str, freeze: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On torch's meta device, which stands in for a GPU."""
    data = dataset(samples=16)
    run(specification(epochs=1, timesteps=2), data, tmp_path / "source")
    job = specification(
        method={"name": method}, timesteps=2, init={"job": "j", "freeze": freeze}, average_decay=0.9
    )
    run_until_read(job, data, tmp_path, monkeypatch, init_from=left(tmp_path / "source"))


def test_more_epochs_leave_nothing_on_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset(samples=16)
    run(specification(epochs=1, optimizer=ADAMW), data, tmp_path / "source")
    job = specification(epochs=2, schedule={"start_epoch": 1}, optimizer=ADAMW)
    run_until_read(job, data, tmp_path, monkeypatch, resume_from=left(tmp_path / "source"))
