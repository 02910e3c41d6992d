"""One training from its specification to a checked LIF network."""

import json
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import saf
from saf.config import ResolvedSpecification
from saf.data import digits
from saf.errors import (
    UserConfigError,
)
from saf.networks.build import build
from saf.training.events import (
    Artifact,
    Checkpoint,
    Converting,
    Epoch,
    Evaluation,
    Finished,
    SpikeStatistics,
    Started,
    Step,
)
from saf.training.hardware.environment import peak_memory_bytes
from saf.training.loop import train
from saf.training.optimisation.schedule import learning_rate
from tests.saf.training.trainings import dataset, resolved, run, specification, summary


def test_reports_come_in_the_order_that_is_promised(tmp_path: Path) -> None:
    reports = run(specification(validation_share=0.2), dataset(), tmp_path)
    epoch = [*[Step] * 4, Epoch, Evaluation, Checkpoint]
    assert any(isinstance(report, SpikeStatistics) for report in reports)
    assert [type(report) for report in reports if not isinstance(report, SpikeStatistics)] == [
        Started,
        *epoch,
        *epoch,
        Evaluation,
        Converting,
        *[Artifact] * 4,
        Finished,
    ]
    started = reports[0]
    assert isinstance(started, Started)
    assert (started.step, started.steps_total, started.steps_per_epoch) == (0, 8, 4)
    assert started.parameters == build(specification().network, (1, 8, 8), 3).parameters
    steps = [report for report in reports if isinstance(report, Step)]
    assert [step.step for step in steps] == list(range(1, 9))
    assert steps[-1].epoch == 2.0
    assert set(steps[0].metrics) == {
        "loss",
        "accuracy",
        "firing_rate",
        "learning_rate",
        "step_seconds",
        "memory_bytes",
        "device_use",
    }


def test_numbers_of_an_epoch_are_the_means_over_its_samples(tmp_path: Path) -> None:
    reports = run(specification(epochs=1, batch_size=7), dataset(), tmp_path)
    steps = [report.metrics for report in reports if isinstance(report, Step)]
    sizes = [7, 7, 6, 6]  # 26 samples in four batches of nearly equal size
    (epoch,) = [report.metrics for report in reports if isinstance(report, Epoch)]
    for mean, of_step in (("train_loss", "loss"), ("train_accuracy", "accuracy")):
        total = sum(n * step[of_step] for n, step in zip(sizes, steps, strict=True))
        assert epoch[mean] == pytest.approx(total / 26)
    assert {"firing_rate/layer1", "firing_rate/layer2"} < set(epoch)
    # 8 × 8 × 4 neurons in the first layer, 4 × 4 × 4 in the second
    rate = (256 * epoch["firing_rate/layer1"] + 64 * epoch["firing_rate/layer2"]) / 320
    mean_rate = sum(n * s["firing_rate"] for n, s in zip(sizes, steps, strict=True)) / 26
    assert rate == pytest.approx(mean_rate)


def test_artifacts_hold_the_network_its_certificate_and_the_whole_run(tmp_path: Path) -> None:
    data = dataset()
    job = specification(seed=4, validation_share=0.2)
    reports = run(job, data, tmp_path)
    artifacts = {r.name: (r.kind, r.path) for r in reports if isinstance(r, Artifact)}
    assert {name: kind for name, (kind, _) in artifacts.items()} == {
        "lif.safetensors": "network",
        "certificate.json": "certificate",
        "report.json": "report",
        "checkpoint.safetensors": "checkpoint",
    }
    assert all(path.is_file() for _, path in artifacts.values())

    evaluations = [r.metrics for r in reports if isinstance(r, Evaluation)]
    lif = saf.load_lif(artifacts["lif.safetensors"][1])
    predicted = lif.predict(torch.from_numpy(data.x_test).float() / 255)
    accuracy = float((predicted.numpy() == data.y_test).mean())
    found = summary(reports)
    assert found["lif_accuracy"] == pytest.approx(accuracy)
    assert found["test_accuracy"] == evaluations[-1]["test_accuracy"]
    assert found["verdict"] == "measured"

    report = json.loads(artifacts["report.json"][1].read_text())
    assert ResolvedSpecification.model_validate(report["specification"]) == job
    *of_epochs, of_test = evaluations
    assert [epoch["val_loss"] for epoch in report["epochs"]] == [m["val_loss"] for m in of_epochs]
    assert of_test["test_loss"] == report["summary"]["test_loss"]
    assert report["summary"]["delivered_epoch"] == report["summary"]["best_epoch"]
    packages = report["environment"]["packages"]
    assert packages["torch"] == torch.__version__
    for ours in ("saf-snn", "saf-service"):  # both are installed here
        assert packages[ours] == version(ours)
    certified = json.loads(artifacts["certificate.json"][1].read_text())["checks"][0]
    assert report["deployment"]["accuracy_after"][-1] == certified["accuracy_lif"]
    assert len(report["deployment"]["accuracy_after"]) == 3
    assert report["deployment"]["energy"]["synaptic_operations"] > 0
    assert 0 < report["deployment"]["neurobench"]["activation_sparsity"] < 1
    assert 0 <= report["share_of_iterations_outside_the_network"] < 1
    assert 2**20 < report["summary"]["peak_memory_bytes"] <= peak_memory_bytes(torch.device("cpu"))
    certificate = json.loads(artifacts["certificate.json"][1].read_text())
    assert certificate["checks"][1]["spikes_differing"] == 0


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(tmp_path: Path) -> None:
    def losses(seed: int) -> list[float]:
        job = specification(seed=seed, augment=["crop"])
        return [r.metrics["loss"] for r in run(job, dataset(), tmp_path) if isinstance(r, Step)]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["saf-e", "saf-f", "ottt-a", "ottt-o", "spike-representation", "bptt"]
)
@pytest.mark.parametrize("precision", ["float32", "tf32", "float64", "bfloat16"])
def test_every_method_learns_in_every_precision(
    method: str, precision: str, tmp_path: Path
) -> None:
    job = specification(method={"name": method}, precision=precision, epochs=8)
    reports = run(job, dataset(samples=36), tmp_path)
    assert summary(reports)["train_accuracy"] > 0.8
    assert summary(reports)["verdict"] == "measured"
    stored = torch.float64 if precision == "float64" else torch.float32
    assert saf.load_lif(tmp_path / "lif.safetensors").dtype == stored
    certificate = json.loads((tmp_path / "certificate.json").read_text())
    assert (certificate["as_trained"] is not None) == (precision == "bfloat16")
    assert ("Computed in bfloat16" in certificate["statement"]) == (precision == "bfloat16")


@pytest.mark.parametrize("method", ["saf-e", "saf-f", "ottt-o"])
def test_event_frames_are_trained_on_and_run(method: str, tmp_path: Path) -> None:
    data = dataset(3, 2, 8, 8, dtype=np.float32)  # T C H W
    reports = run(specification(method={"name": method}, augment=["crop"]), data, tmp_path)
    lif = saf.load_lif(tmp_path / "lif.safetensors")
    assert lif.description.frames
    predicted = lif.predict(torch.from_numpy(data.x_test))
    accuracy = float((predicted.numpy() == data.y_test).mean())
    assert summary(reports)["lif_accuracy"] == pytest.approx(accuracy)


def test_cosine_falls_from_the_peak_to_zero() -> None:
    job = specification(epochs=4, optimizer={"name": "sgd", "learning_rate": 0.2})
    rates = [learning_rate(job, step, 10) for step in range(41)]
    assert rates[0] == 0.2
    assert rates[20] == pytest.approx(0.1)
    assert rates[40] == pytest.approx(0.0, abs=1e-15)
    assert all(b < a for a, b in pairwise(rates))


@pytest.mark.parametrize("name", ["cosine", "constant"])
def test_warm_up_rises_linearly_to_the_peak(name: str) -> None:
    job = specification(epochs=4, schedule={"name": name, "warmup_epochs": 1})
    rates = [learning_rate(job, step, 10) for step in range(40)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) / 10 for step in range(10)])
    assert rates[10] == 0.1
    assert (rates[39] == 0.1) == (name == "constant")


@pytest.mark.parametrize(
    ("shape", "changes", "message"),
    [
        ((4, 1, 8, 8), {}, "4 event frames a sample and timesteps is 3"),
        ((1, 8, 8), {"network": {"name": "vgg11"}}, "16 to 512 pixels a side"),
        ((65, 8, 8), {}, "1 to 64 channels"),
        ((1, 8, 8), {"network": {"name": "convnet", "pooling": "max"}}, "max pooling breaks"),
    ],
)
def test_data_that_the_network_cannot_take_is_refused_before_anything_is_done(
    shape: tuple[int, ...], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserConfigError, match=message):
        next(train(specification(**changes), dataset(*shape), tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_channel_that_is_always_the_same_does_no_harm(tmp_path: Path) -> None:
    data = dataset(2, 8, 8, samples=60)
    data.x_train[:, 1] = 77
    data.x_test[:, 1] = 78
    assert summary(run(specification(epochs=12), data, tmp_path))["test_accuracy"] > 0.8


def test_what_the_caller_does_between_reports_is_no_time_of_the_training(tmp_path: Path) -> None:
    job = specification(epochs=1, max_runtime_seconds=3600)
    seconds = 0.0
    for report in train(job, dataset(), tmp_path, device="cpu"):
        if isinstance(report, Step):
            seconds += report.metrics["step_seconds"]
            torch.randn(300, 300) @ torch.randn(300, 300)
    spent = json.loads((tmp_path / "report.json").read_text())["seconds"]
    assert spent["iterations"] == pytest.approx(seconds)
    assert spent["network"] <= spent["iterations"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["saf-f", "saf-e", "ottt-a", "ottt-o"])
def test_handwritten_digits_are_learnt_to_95_percent_and_kept_by_lif(
    method: str, tmp_path: Path
) -> None:
    job = resolved({"method": {"name": method}, "epochs": 4})
    found = summary(run(job, digits(), tmp_path))
    assert found["test_accuracy"] >= 0.95
    assert abs(found["test_accuracy"] - found["lif_accuracy"]) <= 1 / 360  # one image
    assert found["verdict"] == "measured"


def test_fully_connected_layers_learn_handwritten_digits(tmp_path: Path) -> None:
    job = resolved({"network": {"name": "mlp", "features": [64, 64]}, "timesteps": 4, "epochs": 4})
    assert summary(run(job, digits(), tmp_path))["test_accuracy"] >= 0.8


@pytest.mark.slow
def test_depthwise_convolutions_learn_handwritten_digits(tmp_path: Path) -> None:
    job = resolved(
        {
            "network": {"name": "mobilenet", "width": 0.25},
            "timesteps": 3,
            "epochs": 5,
            "batch_size": 64,
            "optimizer": {"name": "adamw", "learning_rate": 0.005},
        }
    )
    assert summary(run(job, digits(), tmp_path))["test_accuracy"] >= 0.4


def test_importing_saf_and_reading_a_specification_loads_no_torch() -> None:
    code = "import sys, saf; saf.JobSpecification(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_can_be_had() -> None:
    assert all(getattr(saf, name) is not None for name in saf.__all__)
    assert set(saf.__all__) <= set(dir(saf))
    with pytest.raises(AttributeError, match="no attribute 'tarin'"):
        _ = saf.tarin  # type: ignore[attr-defined]


@pytest.mark.parametrize(("bits", "method"), [("auto", "saf-e"), (6, "saf-f")])
def test_a_job_on_a_grid_ends_with_a_proof(bits: int | str, method: str, tmp_path: Path) -> None:
    job = specification(conversion={"grid_bits": bits}, method={"name": method})
    reports = run(job, dataset(), tmp_path)
    assert summary(reports)["verdict"] == "proven"
    certificate = json.loads((tmp_path / "certificate.json").read_text())
    assert certificate["grid"]["within"]
    if bits == "auto":
        assert certificate["grid"]["rounding"]["cost_points"] <= 0.3
    grid = saf.load_lif(tmp_path / "lif.safetensors").description.grid
    assert grid is not None
    assert grid.bits == certificate["grid"]["bits"]
    assert bits in ("auto", grid.bits)


@pytest.mark.parametrize("method", ["saf-e", "saf-f"])
def test_event_frames_in_bytes_on_a_grid_end_with_a_proof(method: str, tmp_path: Path) -> None:
    job = specification(conversion={"grid_bits": "auto"}, method={"name": method})
    reports = run(job, dataset(3, 2, 8, 8), tmp_path)
    assert summary(reports)["verdict"] == "proven"
    lif = saf.load_lif(tmp_path / "lif.safetensors")
    assert lif.description.frames
    with pytest.raises(ValueError, match="from 0 to 1"):
        lif(2 * torch.ones(1, 3, 2, 8, 8))


@pytest.mark.parametrize(("dtype", "unit"), [(np.float32, 255), (np.uint8, 1)])
def test_counts_on_a_grid_are_refused_with_a_hint(dtype: type, unit: int, tmp_path: Path) -> None:
    job = specification(conversion={"grid_bits": "auto"})
    with pytest.raises(UserConfigError, match="event frames of counts") as refused:
        run(job, replace(dataset(3, 2, 8, 8, dtype=dtype), unit=unit), tmp_path)
    assert "unit 255" in refused.value.hint


def test_training_goes_on_with_another_conversion(tmp_path: Path) -> None:
    run(specification(epochs=1), dataset(), tmp_path)
    job = specification(epochs=1, conversion={"grid_bits": 8})
    reports = list(
        train(job, dataset(), tmp_path, device="cpu", resume_from=tmp_path / "checkpoints")
    )
    assert isinstance(reports[0], Started)
    assert reports[0].step == reports[0].steps_total
    assert summary(reports)["verdict"] == "proven"
