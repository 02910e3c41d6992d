"""Looks into a network in training see what is there, and change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saf import train
from saf.config import Neuron, ResolvedSpecification
from saf.data import Dataset
from saf.model.inference import record
from saf.model.network import SpikingNetwork
from saf.networks.build import build
from saf.training.checkpoint import Progress
from saf.training.evaluation.spike_stats import MOST_MEASUREMENTS, SpikeMonitor, spike_statistics
from saf.training.events import MEMBRANE_BINS, Artifact, SpikeStatistics
from tests.saf.training.trainings import dataset, specification

THRESHOLD_BIN = 15  # of 25 over −2 … 3


def network() -> SpikingNetwork:
    architecture = build(specification().network, (1, 8, 8), 3)
    made = SpikingNetwork(architecture, Neuron(), mean=[0.5], std=[0.25], seed=4)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("gain"):
                parameter.mul_(1.5)
    return made


X = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(2))


def signs(network: SpikingNetwork) -> dict[str, list[float]]:
    """Each row under the name of its layer."""
    names = [layer.name for layer in network.architecture.spiking]
    return dict(zip(names, spike_statistics(network, X, 6).tolist(), strict=True))


def test_the_spike_statistics_are_those_of_the_spikes_and_potentials() -> None:
    observed = network()
    names = [p.name for p in observed.architecture.layers]
    steps = list(record(observed, X, 6))
    for index, (name, found) in enumerate(signs(observed).items()):
        spikes = torch.stack([step[index][0] for step in steps])
        firing, dead, saturated, *membrane = found
        per_neuron = spikes.mean((0, 1))
        assert name == names[index]
        assert firing == pytest.approx(float(spikes.mean()))
        assert dead == pytest.approx(float((per_neuron == 0).float().mean()))
        assert saturated == pytest.approx(float((per_neuron >= 0.95).float().mean()))
        assert len(membrane) == MEMBRANE_BINS
        assert sum(membrane) == pytest.approx(1)
        assert sum(membrane[THRESHOLD_BIN:]) == pytest.approx(firing)  # H(u − V): 1 is an edge
        assert 0 < firing < 1


def test_neurons_that_never_fire_are_dead_and_those_that_always_do_saturated() -> None:
    observed = network()
    with torch.no_grad():
        observed.get_parameter("layer1.bias").fill_(-50.0)
        observed.get_parameter("layer2.bias").fill_(50.0)
    silent, loud = signs(observed).values()
    assert silent[:3] == [0, 1, 0]
    assert loud[:3] == [1, 0, 1]


def test_gradient_norms_are_those_of_all_parameters_of_a_layer() -> None:
    observed = network()
    for number, parameter in enumerate(observed.parameters()):
        parameter.grad = torch.full_like(parameter, 0.1 * (number + 1))
    progress = Progress(step=1)
    monitor = SpikeMonitor(observed, 6, 10, progress)
    monitor.keep_gradients()
    measured = monitor.measure(observed, X, 0.1)
    of_layer = [p.grad for n, p in observed.named_parameters() if n.startswith("layer2.")]
    norm = torch.cat([g.flatten() for g in of_layer if g is not None]).norm()
    assert measured.layers["layer2"]["gradient_norm"] == pytest.approx(float(norm))
    assert measured.readout_gradient_norm is not None
    assert (measured.step, measured.samples) == (1, 9)
    assert progress.seconds["spike_statistics"] > 0


def test_measurements_are_few_however_long_the_training_is() -> None:
    progress = Progress()
    monitor = SpikeMonitor(network(), 6, 10 * MOST_MEASUREMENTS, progress)
    assert monitor.is_due()
    monitor.measure(network(), X, 0.0)
    progress.step = 9
    assert not monitor.is_due()


def bytes_of_network(
    data: Dataset, job: ResolvedSpecification, directory: Path, looks: list[SpikeStatistics]
) -> bytes:
    for report in train(job, data, directory, device="cpu"):
        if isinstance(report, SpikeStatistics):
            looks.append(report)
        if isinstance(report, Artifact) and report.name == "lif.safetensors":
            found = report.path.read_bytes()
    return found


@pytest.mark.parametrize("method", ["saf-e", "ottt-o"])
def test_a_training_that_is_measured_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    data, job = dataset(), specification(method={"name": method}, max_gradient_norm=1.0)
    often: list[SpikeStatistics] = []
    never: list[SpikeStatistics] = []
    monkeypatch.setattr(SpikeMonitor, "is_due", lambda self: True)
    watched = bytes_of_network(data, job, tmp_path / "a", often)
    monkeypatch.setattr(SpikeMonitor, "is_due", lambda self: False)
    assert bytes_of_network(data, job, tmp_path / "b", never) == watched
    assert (len(often), len(never)) == (10, 0)
    assert all(layer["gradient_norm"] for layer in often[3].layers.values())
