from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from saf.config import ResolvedSpecification
from saf.estimate.memory import forecast
from saf.lif.certificate import check
from saf.lif.convert import convert, on_grid
from saf.model.network import SpikingNetwork
from saf.networks.build import build
from saf.training.optimisation.loss import loss_function
from tests.saf.methods.rules import METHODS
from tests.saf.training.trainings import resolved

GIB = 2**30


def specification(**changes: Any) -> ResolvedSpecification:
    return resolved({"network": {"name": "vgg11", "width": 0.1}, **changes})


ARCHITECTURE = build(specification().network, (3, 32, 32), 10)


def peak_bytes(job: ResolvedSpecification) -> int:
    """Parameters, and the largest sum of the tensors that one iteration keeps at a time."""
    network = SpikingNetwork(ARCHITECTURE, job.neuron, mean=[0.5] * 3, std=[0.3] * 3, seed=0)
    x = torch.rand(job.batch_size, 3, 32, 32)
    y = torch.zeros(job.batch_size, dtype=torch.int64)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        METHODS[job.method.name](
            network,
            x,
            y,
            timesteps=job.timesteps,
            loss=loss_function(job.loss),
            update=lambda: None,
        )
    now = peak = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak + sum(4 * p.numel() for p in network.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("batch", "timesteps"), [(4, 2), (4, 12), (48, 4)])
def test_the_forecast_is_above_what_an_iteration_takes_and_not_far_above(
    method: str, batch: int, timesteps: int
) -> None:
    job = specification(method={"name": method}, batch_size=batch, timesteps=timesteps)
    predicted = forecast(job, ARCHITECTURE, limit_bytes=GIB).training_bytes
    measured = peak_bytes(job)
    assert measured < predicted < 4 * measured


@pytest.mark.slow
@pytest.mark.parametrize("grid_bits", [None, 8])
@pytest.mark.parametrize(("batch", "timesteps"), [(4, 6), (32, 6)])
def test_the_forecast_is_above_what_a_check_takes_and_not_far_above(
    batch: int, timesteps: int, grid_bits: int | None, tmp_path: Path
) -> None:
    job = specification(batch_size=batch, timesteps=timesteps, conversion={"grid_bits": grid_bits})
    network = SpikingNetwork(ARCHITECTURE, job.neuron, mean=[0.5] * 3, std=[0.3] * 3, seed=0)
    lif = convert(network, job, class_names="abcdefghij", frames=False)
    path = tmp_path / "lif.safetensors"
    (lif if grid_bits is None else on_grid(lif, grid_bits)).save(path)
    x, y = torch.zeros(batch, 3, 32, 32), torch.zeros(batch, dtype=torch.int64)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        for _ in check(network, path, x, y, batch_size=batch):
            pass
    now = peak = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    found = forecast(job, ARCHITECTURE, limit_bytes=GIB)
    assert peak < found.check_bytes < 4 * peak
    assert found.memory_bytes == max(found.training_bytes, found.check_bytes)


@pytest.mark.parametrize("method", ["saf-e", "bptt"])
@pytest.mark.parametrize("limit", [2**22, 2**24, 2**26, 2**28, 2**30])
def test_the_largest_batch_fits_and_one_more_does_not(method: str, limit: int) -> None:
    def needed(batch: int) -> int:
        job = specification(method={"name": method}, batch_size=batch)
        return forecast(job, ARCHITECTURE, limit_bytes=limit).memory_bytes

    largest = forecast(
        specification(method={"name": method}), ARCHITECTURE, limit_bytes=limit
    ).largest_batch
    if largest:
        assert needed(largest) <= limit
    assert needed(largest + 1) > limit
