from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from saf.config import ResolvedSpecification
from saf.estimate.memory import forecast
from saf.lif.certificate import check
from saf.lif.convert import convert, on_grid
from saf.model.network import SpikingNetwork
from saf.networks.architecture import Architecture
from saf.networks.build import build
from saf.training.optimisation.loss import loss_function
from tests.saf.methods.rules import METHODS, called
from tests.saf.training.trainings import resolved

GIB = 2**30


def specification(**changes: Any) -> ResolvedSpecification:
    return resolved({"network": {"name": "vgg11", "width": 0.1}, **changes})


ARCHITECTURE = build(specification().network, (3, 32, 32), 10)


def network_of(job: ResolvedSpecification, architecture: Architecture) -> SpikingNetwork:
    channels = architecture.input_shape[0]
    mean, std = [0.5] * channels, [0.3] * channels
    return SpikingNetwork(architecture, job.neuron, mean=mean, std=std, seed=0)


def peak_bytes(job: ResolvedSpecification, architecture: Architecture, x: Tensor) -> int:
    """Parameters, and the largest sum of the tensors that one iteration keeps at a time."""
    network = network_of(job, architecture)
    y = torch.zeros(job.batch_size, dtype=torch.int64)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        called(job.method.rule())(
            network,
            x,
            y,
            timesteps=job.timesteps,
            loss=loss_function(job.loss),
            update=lambda: None,
        )
    return peak_of(record) + sum(4 * p.numel() for p in network.parameters())


def peak_of(record: Any) -> int:
    """The largest sum of tensors that were made while a profile was taken."""
    now = peak = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("batch", "timesteps"), [(4, 2), (4, 12), (48, 4)])
def test_the_forecast_is_above_what_an_iteration_takes_and_not_far_above(
    method: str, batch: int, timesteps: int
) -> None:
    job = specification(method={"name": method}, batch_size=batch, timesteps=timesteps)
    predicted = forecast(job, ARCHITECTURE, limit_bytes=GIB).training_bytes
    measured = peak_bytes(job, ARCHITECTURE, torch.rand(batch, 3, 32, 32))
    assert measured < predicted < 4 * measured


def in_time(network: str, **changes: Any) -> tuple[ResolvedSpecification, Architecture, Tensor]:
    """A training on series of many channels, as spoken words in spikes have: few neurons, and a
    batch of samples that is more than all of them."""
    job = resolved(
        {"network": {"name": network, "features": [32]}, "batch_size": 32, **changes},
    )
    x = torch.rand(32, job.timesteps, 700)
    return job, build(job.network, (700, 1, 1), 10), x


@pytest.mark.slow
@pytest.mark.parametrize("network", ["mlp", "rnn", "delay"])
@pytest.mark.parametrize("method", ["saf-e", "saf-f", "ottt-a", "bptt"])
def test_of_series_the_samples_and_what_is_made_of_them_count(method: str, network: str) -> None:
    job, architecture, x = in_time(network, method={"name": method}, timesteps=50)
    predicted = forecast(job, architecture, limit_bytes=GIB, in_time=True).training_bytes
    measured = peak_bytes(job, architecture, x) + 4 * x.numel()
    assert measured < predicted < 4 * measured


@pytest.mark.parametrize(("samples", "timesteps"), [(4, 200), (32, 50), (128, 60)])
def test_the_steps_at_once_of_a_network_with_feedback_count(samples: int, timesteps: int) -> None:
    """The results of its maps are kept for all of them."""
    job = resolved(
        {
            "network": {"name": "rnn", "features": [128, 128]},
            "method": {"name": "saf-e"},
            "batch_size": samples,
            "timesteps": timesteps,
        }
    )
    architecture, x = build(job.network, (8, 1, 1), 10), torch.rand(samples, timesteps, 8)
    predicted = forecast(job, architecture, limit_bytes=GIB, in_time=True).training_bytes
    measured = peak_bytes(job, architecture, x) + 4 * x.numel()
    assert measured < predicted < 2 * measured


@pytest.mark.parametrize(
    ("network", "method", "neuron"),
    [
        ("mlp", "saf-e", {"decays": [0.5, 0.9, 0.25]}),
        ("rnn", "saf-e", {"decays": [0.9, 0.25, 0.9]}),
        ("rnn", "saf-e", {"name": "cuba", "decays": [0.5, 0.9, 0.25]}),
        ("rnn", "bptt", {"name": "plif"}),
    ],
)
def test_decays_of_layers_and_decays_that_are_learned_count(
    network: str, method: str, neuron: dict[str, Any]
) -> None:
    job = resolved(
        {
            "network": {"name": network, "features": [128, 128, 128]},
            "method": {"name": method},
            "neuron": neuron,
            "batch_size": 32,
            "timesteps": 40,
        }
    )
    architecture, x = build(job.network, (8, 1, 1), 10), torch.rand(32, 40, 8)
    predicted = forecast(job, architecture, limit_bytes=GIB, in_time=True).training_bytes
    measured = peak_bytes(job, architecture, x) + 4 * x.numel()
    assert measured < predicted < 2 * measured


@pytest.mark.parametrize("method", ["saf-e", "saf-f", "ottt-a"])
def test_what_scores_of_many_classes_need_does_not_grow_with_time(method: str) -> None:
    assert of_many_classes(200, name=method) < 1.05 * of_many_classes(100, name=method)


@pytest.mark.parametrize("method", ["saf-e", "ottt-a"])
@pytest.mark.parametrize("readout", ["last", "max"])
def test_a_readout_of_all_steps_keeps_their_scores(method: str, readout: str) -> None:
    scores = 4 * 16 * 4000
    more = of_many_classes(100, name=method, readout=readout)
    assert more - of_many_classes(50, name=method, readout=readout) >= 50 * scores


def of_many_classes(timesteps: int, **method: str) -> int:
    """What an iteration takes in a network of fewer neurons than classes; the forecast is above."""
    job = resolved(
        {
            "network": {"name": "mlp", "features": [16]},
            "method": method,
            "batch_size": 16,
            "timesteps": timesteps,
        }
    )
    architecture = build(job.network, (1, 4, 4), 4000)
    peak = peak_bytes(job, architecture, torch.rand(16, 1, 4, 4))
    assert peak < forecast(job, architecture, limit_bytes=GIB).training_bytes
    return peak


@pytest.mark.parametrize("network", ["mlp", "rnn", "delay"])
def test_what_saf_makes_of_series_does_not_grow_with_time(network: str) -> None:
    """Where the channels are many more than the neurons, too."""

    def taken(timesteps: int) -> int:
        return peak_bytes(*in_time(network, timesteps=timesteps))

    assert taken(400) < 1.05 * taken(200)


@pytest.mark.slow
@pytest.mark.parametrize("grid_bits", [None, 8])
@pytest.mark.parametrize(("batch", "timesteps"), [(4, 6), (32, 6)])
def test_the_forecast_is_above_what_a_check_takes_and_not_far_above(
    batch: int, timesteps: int, grid_bits: int | None, tmp_path: Path
) -> None:
    job = specification(batch_size=batch, timesteps=timesteps, conversion={"grid_bits": grid_bits})
    network = network_of(job, ARCHITECTURE)
    lif = convert(network, job, class_names="abcdefghij", frames=False)
    path = tmp_path / "lif.safetensors"
    (lif if grid_bits is None else on_grid(lif, grid_bits)).save(path)
    x, y = torch.zeros(batch, 3, 32, 32), torch.zeros(batch, dtype=torch.int64)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        for _ in check(network, path, x, y, batch_size=batch):
            pass
    peak = peak_of(record)
    found = forecast(job, ARCHITECTURE, limit_bytes=GIB)
    assert peak < found.check_bytes < 4 * peak
    assert found.memory_bytes == max(found.training_bytes, found.check_bytes)


@pytest.mark.parametrize("timesteps", [20, 100])
@pytest.mark.parametrize("name", ["mlp", "delay"])
def test_the_forecast_is_above_what_a_check_of_series_takes(
    name: str, timesteps: int, tmp_path: Path
) -> None:
    job, architecture, x = in_time(name, timesteps=timesteps)
    network = network_of(job, architecture)
    lif = convert(network, job, class_names="abcdefghij", frames=True)
    path = tmp_path / "lif.safetensors"
    lif.save(path)
    y = torch.zeros(len(x), dtype=torch.int64)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        for _ in check(network, path, x, y, batch_size=len(x)):
            pass
    found = forecast(job, architecture, limit_bytes=GIB, in_time=True).check_bytes
    assert peak_of(record) < found < 6 * peak_of(record)


def test_the_largest_batch_of_a_small_network_fits_and_twice_as_many_do_not() -> None:
    """Where more samples leave fewer time steps at once, so that what is needed grows in steps."""
    limit = 2**28

    def needed(batch: int) -> int:
        job, architecture, _ = in_time("mlp", timesteps=200, batch_size=batch)
        return forecast(job, architecture, limit_bytes=limit, in_time=True).memory_bytes

    job, architecture, _ = in_time("mlp", timesteps=200)
    largest = forecast(job, architecture, limit_bytes=limit, in_time=True).largest_batch
    assert needed(largest) <= limit < needed(2 * largest)


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
