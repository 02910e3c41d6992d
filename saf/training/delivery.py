"""From a trained network to the files that a job leaves behind, as a stream of reports."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from saf import files
from saf.config import ResolvedSpecification
from saf.data.dataset import Dataset
from saf.estimate.memory import CHECKED_AT_ONCE
from saf.kernels.precision import on_device
from saf.lif.certificate import MOST_FOR_ROUNDING, Checked, Done, Kernels, check, samples_of
from saf.lif.convert import convert, on_grid, round_to_grid
from saf.lif.costs.neurobench import most_samples, neurobench
from saf.model.inputs import floats
from saf.model.network import SpikingNetwork
from saf.training import checkpoint as checkpoints
from saf.training.batches import Samples
from saf.training.checkpoint import Progress
from saf.training.evaluation.assessment import Assessment
from saf.training.evaluation.health import of_certificate
from saf.training.evaluation.report import deployment, summarise
from saf.training.events import Artifact, Checking, Converting, Finished, Report
from saf.training.failures import silenced
from saf.training.quantisation import Quantised

REPORT_SECONDS = 1.0  # between two reports of how far the check is
ENOUGH_FOR_SILENCE = 1_000  # samples that say that a network does not fire


def deliver(
    network: SpikingNetwork,
    specification: ResolvedSpecification,
    dataset: Dataset,
    test_set: Samples,
    progress: Progress,
    directory: Path,
    *,
    dataset_sha256: str,
    assessment: Assessment,
    selection: Samples,
    timesteps_at_once: int | None,
    snapshot: Callable[[], checkpoints.Checkpoint],
    stop: Callable[[], bool] = lambda: False,
    few_bits: Quantised | None = None,
) -> Iterator[Report]:
    """Convert the trained `network`, check it on `test_set`, and write everything to `directory`.

    Reports: `Converting`; `Checking` about once a second; an `Artifact` for each of
    `lif.safetensors`, `certificate.json`, `report.json` and `checkpoint.safetensors`, which holds
    `snapshot()`; `Finished`. `stop` is asked after every batch: when it says True, the generator
    returns, without `Finished`. What has to be chosen, as the grid of `auto`, is chosen by the
    samples of `selection`, which are no test samples. `few_bits` are its weights of few bits, which
    are delivered then. `assessment` is what the test samples showed of the network to be delivered.

    Raises `SilentNetworkError` where the network fired on the test samples as it was trained and,
    rounded to a grid, fires on none.
    """
    yield Converting(step=progress.step)
    device, dtype = network.device, network.parameter_dtype
    began = told = perf_counter()
    kernels = Kernels(winograd=True, in_cpp=bool(progress.native))
    before = None
    if few_bits is not None:
        before, network = network, few_bits.network
    lif = convert(
        network,
        specification,
        class_names=dataset.class_names,
        frames=dataset.timesteps is not None,
        dtype=dtype,
    )
    lif = lif.to(device)
    grid_refused = None
    if few_bits is not None:
        lif = on_grid(lif, few_bits.grid_bits)
    elif (bits := specification.conversion.grid_bits) is not None:
        count = min(MOST_FOR_ROUNDING, len(selection))
        rows = torch.arange(count) * len(selection) // count
        own = None if selection.lengths is None else selection.lengths[rows]
        conversion = specification.conversion
        for rounding in round_to_grid(
            lif, bits, *selection.raw(rows), own, round_decays=conversion.round_decays
        ):
            if stop():
                return
            if rounding is not None:
                lif, grid_refused = rounding
    lif.save(directory / "lif.safetensors")
    yield Artifact(name="lif.safetensors", kind="network", path=directory / "lif.safetensors")
    for found in check(
        network,
        directory / "lif.safetensors",
        test_set.x,
        test_set.y,
        batch_size=min(specification.samples_at_once, CHECKED_AT_ONCE),
        samples=samples_of(len(test_set), specification.conversion.samples),
        tf32=on_device(specification.precision, device) == "tf32",
        grid_refused=grid_refused,
        kernels=kernels,
        unit=dataset.unit,
        before=before,
        lengths=test_set.lengths,
    ):
        if stop():
            return
        if isinstance(found, Done) and perf_counter() - told >= REPORT_SECONDS:
            told = perf_counter()
            yield Checking(done=found.samples, total=found.total)
    assert isinstance(found, Checked)
    certificate, measured = {**found.certificate, "dataset_sha256": dataset_sha256}, found.measured
    progress.seconds["conversion"] += perf_counter() - began
    enough = measured.samples >= min(len(test_set), ENOUGH_FOR_SILENCE)
    rounded = lif.description.grid is not None
    if rounded and assessment.fires and enough and not measured.firing_rate:
        raise silenced(specification.conversion)
    yield _json(directory / "certificate.json", "certificate", certificate)
    differs = of_certificate(certificate, specification.conversion)
    assessment = replace(assessment, findings=[*differs, *assessment.findings])
    report = summarise(
        specification,
        network.architecture,
        progress,
        assessment,
        certificate,
        device,
        timesteps_at_once,
    )
    few = min(len(test_set), most_samples(lif))
    shown, _ = test_set.raw(torch.arange(few) * len(test_set) // few)
    compared = neurobench(lif, floats(shown.to(device), lif.dtype, dataset.unit))
    if few_bits is not None:
        report["quantisation"] = few_bits.facts
        report["summary"]["val_accuracy"] = few_bits.val_accuracy
    report["deployment"] = deployment(measured, lif.description, compared)
    yield _json(directory / "report.json", "report", report)
    snapshot().write(directory / "checkpoint.safetensors")
    yield Artifact(
        name="checkpoint.safetensors", kind="checkpoint", path=directory / "checkpoint.safetensors"
    )
    yield Finished(step=progress.step, summary=report["summary"])


def _json(path: Path, kind: str, content: dict[str, Any]) -> Artifact:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    files.write_bytes(path, text.encode() + b"\n")
    return Artifact(name=path.name, kind=kind, path=path)
