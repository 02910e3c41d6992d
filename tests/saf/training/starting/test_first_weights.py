"""A training that starts from the weights of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from saf import config
from saf.config import ResolvedSpecification
from saf.data.dataset import Dataset
from saf.errors import UserConfigError
from saf.networks.build import build_for
from saf.training.checkpoint import Checkpoint
from saf.training.events import Checkpoint as CheckpointReport
from saf.training.events import Finished
from saf.training.loop import train
from saf.training.trainer import Trainer
from tests.saf.training.starting.continuations import (
    after,
    assert_same_bits,
    assert_same_training,
    begun,
    going_on,
    left,
    metrics_of_test,
    of_classes,
    starting,
)
from tests.saf.training.trainings import dataset, run, specification

pytestmark = pytest.mark.slow


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
    found = metrics_of_test(starting(still, left(tmp_path / "source"), tmp_path / "new", data))
    expected = metrics_of_test(source)
    assert found["test_accuracy"] == expected["test_accuracy"]
    assert found["test_loss"] == pytest.approx(expected["test_loss"], abs=1e-6)


def test_the_first_weights_are_those_of_the_best_epoch_bit_for_bit(tmp_path: Path) -> None:
    data = dataset()
    run(specification(epochs=3, validation_share=0.3), data, tmp_path / "source")
    saved = Checkpoint.read(left(tmp_path / "source"))
    trainer = begun(specification(init={"job": "j"}), left(tmp_path / "source"), data)
    assert_same_bits({n: p.detach() for n, p in trainer.parameters.items()}, saved.best)


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
        (
            {"name": "mlp", "channels": None, "features": [5]},
            (1, 8, 8),
            "it is convnet and not mlp",
        ),
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


def test_a_decay_that_is_learned_begins_as_the_job_says_where_the_weights_hold_none(
    tmp_path: Path,
) -> None:
    run(specification(epochs=1), dataset(), tmp_path / "source")
    learned = {"name": "plif", "decays": [0.7, 0.2]}
    job = specification(neuron=learned, method={"name": "ottt-a"}, epochs=1, init={"job": "j"})
    source = left(tmp_path / "source")
    data = dataset()
    architecture = build_for(job, data.sample_shape, data.classes, in_time=False)
    trainer = Trainer(
        job, data, architecture, torch.device("cpu"), resume_from=None, init_from=source
    )
    assert [layer.decay for layer in trainer.network.layers] == pytest.approx([0.7, 0.2])
    starting(job, source, tmp_path / "learned", data)
    with pytest.raises(UserConfigError, match=r"have learned .* layer1\.neuron\.logit") as refused:
        starting(
            specification(init={"job": "j"}), left(tmp_path / "learned"), tmp_path / "new", data
        )
    assert "plif" in str(refused.value.hint)


def test_a_checkpoint_that_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    job = specification(init={"job": "j"})
    with pytest.raises(UserConfigError, match="there is no file of it"):
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
