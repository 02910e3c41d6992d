"""A job on series that are padded to one length: what is behind their end counts nowhere."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import saf
from saf.data import load, save
from saf.data.dataset import Dataset
from saf.data.statistics import channel_statistics
from saf.errors import UserConfigError
from saf.lif.measure import measure
from saf.model.lengths import Lengths
from saf.networks.build import build
from saf.processes.predict import answer
from saf.training.checkpoint import Checkpoint
from saf.training.evaluation.spike_stats import spike_statistics
from saf.training.loop import train
from saf.training.trainer import Trainer
from tests.saf.training.test_series import STEPS, job, series
from tests.saf.training.trainings import resolved, run, summary


def padded(by: float) -> Dataset:
    """Series of different lengths, with this number behind the end of each."""
    data = series()
    generator = np.random.default_rng(3)
    lengths, cut = {}, {}
    for split in ("train", "test"):
        x = getattr(data, f"x_{split}").copy()
        lengths[split] = generator.integers(4, STEPS + 1, len(x))
        x[np.arange(STEPS) >= lengths[split][:, None]] = by
        cut[split] = x
    return replace(
        data,
        x_train=cut["train"],
        x_test=cut["test"],
        lengths_train=lengths["train"],
        lengths_test=lengths["test"],
    )


def begun(data: Dataset, **changes: Any) -> Trainer:
    """With weights that are fitted to the data, and no validation samples."""
    network = {"name": "mlp", "features": [20, 20], "gain": "auto"}
    given = resolved(network=network, timesteps=STEPS, **changes)
    architecture = build(given.network, (3, 1, 1), 3)
    cpu = torch.device("cpu")
    return Trainer(given, data, architecture, cpu, resume_from=None, init_from=None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "readout"),
    [
        ("saf-e", "mean"),
        ("saf-e", "max"),
        ("saf-f", "weighted"),
        ("ottt-a", "last"),
        ("ottt-o", "mean"),
        ("bptt", "weighted"),
        ("spike-representation", "weighted"),
    ],
)
def test_what_is_behind_the_end_counts_nowhere(method: str, readout: str, tmp_path: Path) -> None:
    found = []
    for number, by in enumerate((0.0, 40.0)):
        data, directory = padded(by), tmp_path / str(number)
        reports = run(
            job(method={"name": method, "readout": readout}, validation_share=0.2),
            data,
            directory,
        )
        lif = saf.load_lif(directory / "lif.safetensors")
        x, own = torch.from_numpy(data.x_test), torch.from_numpy(data.lengths_test)
        right = lif.predict(x, own).numpy() == data.y_test
        told = summary(reports)
        assert told["lif_accuracy"] == told["test_accuracy"] == pytest.approx(right.mean())
        measured = measure(lif, data.x_test, data.y_test, lengths=data.lengths_test, batch_size=4)
        assert measured.accuracy == pytest.approx(right.mean())
        report = json.loads((directory / "report.json").read_text())
        assert report["deployment"]["accuracy_after"][-1] == pytest.approx(right.mean())
        for n, length in enumerate(own.tolist()):
            state = None
            for now in x[n : n + 1, :length].unbind(1):
                scores, state = lif.step(now, state)
            torch.testing.assert_close(scores[0], lif(x, own)[n], rtol=1e-5, atol=1e-5)
        found.append((told, Checkpoint.read(directory / "checkpoint.safetensors")))
    (one, of_one), (other, of_other) = found
    assert of_one.weights.keys() == of_other.weights.keys()
    for name, weight in of_one.weights.items():
        torch.testing.assert_close(weight, of_other.weights[name], rtol=1e-6, atol=1e-7)
    for name in ("test_loss", "test_accuracy", "val_accuracy", "train_accuracy", "train_loss"):
        assert one[name] == pytest.approx(other[name], rel=1e-5), name


def test_a_resumed_training_has_the_lengths_of_before(tmp_path: Path) -> None:
    data = padded(0.0)
    run(job(epochs=1), data, tmp_path / "one")
    others = replace(data, lengths_train=np.full(len(data.x_train), STEPS))
    with pytest.raises(UserConfigError, match="other training data"):
        list(train(job(epochs=1), others, tmp_path, resume_from=tmp_path / "one" / "checkpoints"))


def test_mean_and_deviation_are_those_of_the_own_steps() -> None:
    data = padded(1e6)
    own = np.concatenate(
        [x[:n] for x, n in zip(data.x_train, data.lengths_train, strict=True)]  # type: ignore[arg-type]
    )
    found = data.channel_statistics()
    np.testing.assert_allclose(found.mean, own.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.deviation, own.std(0), rtol=1e-4)
    frames = np.random.default_rng(0).integers(0, 9, (5, 4, 2, 3, 3), np.uint8)
    lengths = np.array([1, 4, 2, 3, 4])
    kept = [each[:n] for each, n in zip(frames, lengths, strict=True)]
    by_channel = np.concatenate(kept).swapaxes(0, 1).reshape(2, -1)
    of_frames = channel_statistics(frames, 1, lengths)
    np.testing.assert_allclose(of_frames.mean, by_channel.mean(1), rtol=1e-6)
    np.testing.assert_allclose(of_frames.deviation, by_channel.std(1), rtol=1e-5)


def test_spike_statistics_are_those_of_the_own_steps() -> None:
    found = []
    for by in (0.0, 400.0):
        data = padded(by)
        trainer = begun(data)
        assert trainer.train_set.lengths is not None
        lengths, x = Lengths(trainer.train_set.lengths), trainer.train_set.x
        found.append(spike_statistics(trainer.network, x, STEPS, lengths))
    assert found[0][:, 0].all()
    torch.testing.assert_close(found[0], found[1])


def test_firing_rates_are_those_of_the_own_steps_in_batches_of_any_size(tmp_path: Path) -> None:
    """Short series fire less here: batch by batch they would count as much as long ones."""
    data = padded(0.0)
    x, own = data.x_train.copy(), data.lengths_train
    assert own is not None
    x[:, :4] = x.mean((0, 1))
    data = replace(data, x_train=x)
    still = {"name": "sgd", "learning_rate": 1e-30, "momentum": 0.0}
    same = {"optimizer": still, "validation_share": 0.0, "precision": "float64"}
    of_epochs, evaluated = [], []
    for size, parts in ((60, 1), (60, 7), (7, 1), (1, 1)):
        directory = tmp_path / f"{size} {parts}"
        sized = {**same, "batch_size": size, "micro_batches": parts}
        run(job(method={"name": "saf-e"}, **sized), data, directory)
        (epoch,) = json.loads((directory / "report.json").read_text())["epochs"]
        of_epochs.append([epoch[f"firing_rate/{layer}"] for layer in ("layer1", "layer2")])
        trainer = begun(data, batch_size=size, micro_batches=parts)
        found = trainer.evaluated(trainer.network, trainer.train_set, "training")
        evaluated.append([*found.firing_rates.values()])
    lif = saf.load_lif(directory / "lif.safetensors")
    fired = np.zeros(2)
    for sample, length in zip(torch.from_numpy(x), own.tolist(), strict=True):
        for step in islice(lif.run(sample[None]), length):
            fired += [float(spikes.mean()) for spikes in step.spikes.values()]
    expected = fired / own.sum()
    for rates in of_epochs:
        np.testing.assert_allclose(rates, expected, rtol=1e-6)
    for rates in evaluated[1:]:
        np.testing.assert_allclose(rates, evaluated[0], rtol=1e-5)


def test_a_sample_that_is_tried_ends_where_it_does(tmp_path: Path) -> None:
    data = padded(0.0)
    run(job(epochs=1), data, tmp_path)
    save(data, tmp_path / "data.safetensors")
    assert load(tmp_path / "data.safetensors").lengths_test is not None
    for index in (0, 1, 2):
        found = answer(
            {
                "network": str(tmp_path / "lif.safetensors"),
                "sample": {
                    "dataset": str(tmp_path / "data.safetensors"),
                    "builtin": False,
                    "index": index,
                },
            }
        )
        assert found["ok"], found
        assert data.lengths_test is not None
        assert found["timesteps"] == len(found["scores"]) == data.lengths_test[index]


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        (torch.tensor([1, 2]), "3 whole numbers from 1 to 9"),
        (torch.tensor([1.0, 2.0, 3.0]), "not torch.float32"),
        (torch.tensor([0, 2, 3]), "from 0 to 3"),
        (torch.tensor([1, 2, 10]), "from 1 to 10"),
    ],
)
def test_lengths_that_fit_no_series_are_refused(
    lengths: torch.Tensor, said: str, tmp_path: Path
) -> None:
    data = series()
    run(job(epochs=1), data, tmp_path)
    lif = saf.load_lif(tmp_path / "lif.safetensors")
    for run_it in (lif, lif.predict):
        with pytest.raises(ValueError, match=said):
            run_it(torch.from_numpy(data.x_test)[:3], lengths)
