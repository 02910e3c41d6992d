"""The conversion at the end of a training: bounded, told, stopped, and the network run once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from saf.lif.certificate import samples_of
from saf.lif.network import LIFNetwork
from saf.lif.sequence import LIFChunk
from saf.lif.verifying import verify
from saf.training import checkpoint as checkpoints
from saf.training.batches import identity
from saf.training.events import Checking, Converting, Finished, Report
from saf.training.loop import train
from tests.saf.training.trainings import dataset, run, specification


@pytest.fixture(autouse=True)
def _tell_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saf.training.delivery.REPORT_SECONDS", 0.0)


def certificate(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "certificate.json").read_text())
    return found


def test_how_far_the_check_is_is_told_between_batches(tmp_path: Path) -> None:
    reports = run(specification(), dataset(), tmp_path)
    told = [report for report in reports if isinstance(report, Checking)]
    assert [report.done for report in told] == [6, 12, 18, 24]  # float32, then float64
    assert {report.total for report in told} == {24}
    kinds = [type(report).__name__ for report in reports]
    assert kinds.index("Converting") < kinds.index("Checking") < kinds.index("Finished")


def test_a_certificate_and_a_checkpoint_name_the_data_set_alike(tmp_path: Path) -> None:
    data = dataset()
    run(specification(epochs=1), data, tmp_path)
    digest = certificate(tmp_path)["dataset_sha256"]
    checkpoint, _ = checkpoints.newest(tmp_path / "checkpoint.safetensors")
    assert checkpoint is not None
    assert checkpoint.dataset == digest
    assert digest == identity(data.x_train, data.y_train)
    assert any(digest in line for line in verify(tmp_path / "certificate.json").says)


def test_a_setting_bounds_the_samples_of_the_check(tmp_path: Path) -> None:
    run(specification(conversion={"samples": 5}), dataset(), tmp_path)
    found = certificate(tmp_path)
    assert [check["samples"] for check in found["checks"]] == [5, 5]
    assert found["samples_available"] == 12
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["deployment"]["samples"] == 5


@pytest.mark.parametrize(
    ("available", "most", "expected"),
    [
        (50_000, None, (10_000, 500)),
        (50_000, 40_000, (40_000, 2_000)),
        (360, None, (360, 200)),
        (150, None, (150, 150)),
        (10_000, 100, (100, 100)),
        (10_000, 1, (1, 1)),
    ],
)
def test_float64_takes_a_twentieth_but_some_at_least(
    available: int, most: int | None, expected: tuple[int, int]
) -> None:
    found = samples_of(available, most)
    assert (found[torch.float32], found[torch.float64]) == expected


def test_a_conversion_that_is_stopped_is_done_anew_from_the_last_checkpoint(
    tmp_path: Path,
) -> None:
    seen: list[Report] = []

    def stop() -> bool:
        return any(isinstance(report, Checking) for report in seen)

    for report in train(specification(), dataset(), tmp_path / "one", device="cpu", stop=stop):
        seen.append(report)
    assert isinstance(seen[-1], Checking)
    assert not (tmp_path / "one" / "certificate.json").exists()
    again = list(
        train(
            specification(),
            dataset(),
            tmp_path / "two",
            device="cpu",
            resume_from=tmp_path / "one" / "checkpoints",
        )
    )
    assert isinstance(again[-1], Finished)
    assert not [report for report in again if type(report).__name__ == "Step"]
    run(specification(), dataset(), tmp_path / "undisturbed")
    assert certificate(tmp_path / "two") == certificate(tmp_path / "undisturbed")


def test_a_search_for_a_grid_can_be_stopped(tmp_path: Path) -> None:
    seen: list[Report] = []
    job = specification(conversion={"grid_bits": "auto"})
    stop = lambda: any(isinstance(report, Converting) for report in seen)  # noqa: E731
    for report in train(job, dataset(), tmp_path, device="cpu", stop=stop):
        seen.append(report)
    assert isinstance(seen[-1], Converting)
    assert not (tmp_path / "lif.safetensors").exists()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_lif_network_runs_once_in_each_precision_for_all_that_is_said_of_it(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[torch.dtype, int] = {}
    original = LIFNetwork._chunks

    def counted(
        self: LIFNetwork, x: Tensor, at_once: int | None, *, potentials: bool
    ) -> Iterator[LIFChunk]:
        shown[self.dtype] = shown.get(self.dtype, 0) + len(x)
        return original(self, x, at_once, potentials=potentials)

    monkeypatch.setattr(LIFNetwork, "_chunks", counted)
    run(specification(precision=precision), dataset(), tmp_path)
    assert shown == {torch.float32: 12, torch.float64: 12}
    found = certificate(tmp_path)
    assert (found["as_trained"] is not None) == (precision == "bfloat16")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["deployment"]["accuracy_after"][-1] == found["checks"][0]["accuracy_lif"]
    assert report["summary"]["accuracy_as_trained"] == found["checks"][0]["accuracy_saf"]
    assert report["summary"]["rounding_cost_points"] is None
