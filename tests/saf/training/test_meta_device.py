"""Trainings on torch's `meta` device, which stands in for a GPU: it has no numbers, so whatever is
left on the host, or read back where nobody may wait, is an error.

A training reads the numbers of several iterations at a time. Until then, everything that a job can
ask for has to run there; `tests.saf.config.specifications` reads it from the types.
"""

from __future__ import annotations

import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import saf
from saf.config import JobSpecification
from saf.config.networks import NETWORKS
from saf.data.dataset import Dataset
from saf.model.inference import record
from saf.model.network import SpikingNetwork, network_of
from saf.networks.build import build
from saf.training import loop as training
from saf.training import trainer
from saf.training.batches import Samples
from saf.training.evaluation.evaluate import sums
from saf.training.evaluation.spike_stats import SpikeMonitor, spike_statistics
from saf.training.events import MEMBRANE_BINS, Step
from saf.training.loop import train
from saf.training.optimisation.ema import MovingAverage
from saf.training.optimisation.loss import loss_function
from tests.saf.config.specifications import methods, networks, options
from tests.saf.training.trainings import dataset, specification

META = torch.device("meta")
LIBRARY = Path(saf.__file__).parent
FRAMES = 2
SIDES = {"vgg16": 32, "vgg11": 16, "vgg11-f": 16}
NAMES = sorted({method["name"] for method in methods()})
OF_THE_LOOP = {
    *("epochs", "patience", "validation_share", "seed", "batch_size", "micro_batches"),
    *("optimizer", "schedule", "average_decay", "max_gradient_norm", "augment", "conversion"),
    *("max_runtime_seconds", "priority", "name", "metadata"),
}
"""Options that the loop sees to, whichever method computes the gradients."""

pytestmark = pytest.mark.slow


def data_for(network: dict[str, Any], *, frames: bool) -> Dataset:
    side = SIDES.get(network["name"], 8)
    return dataset(*((FRAMES,) if frames else ()), 1, side, side, samples=16)


def run_until_read(
    job: JobSpecification,
    data: Dataset,
    directory: Path,
    patch: pytest.MonkeyPatch,
    **source: Any,
) -> None:
    """Train on `meta`, from the checkpoint `source` if one is given, until the numbers
    of the first iteration are to be read, which has to fail, and before which nothing may."""
    patch.setattr(training, "READ_EVERY", 1)
    reports: list[Any] = []
    with pytest.raises(RuntimeError) as failed:
        reports.extend(train(job, data, directory, device=META, **source))
    frames = traceback.extract_tb(failed.value.__traceback__)
    *_, last = [frame for frame in frames if Path(frame.filename).is_relative_to(LIBRARY)]
    assert (Path(last.filename).name, last.name) == ("metrics.py", "read"), (
        f"{last.filename}:{last.lineno} reads what an iteration computes on its device, or leaves "
        f"a part of it on the host: {failed.value}"
    )
    assert not [report for report in reports if isinstance(report, Step)]


@pytest.mark.parametrize("network", networks(), ids=lambda network: network["name"])
@pytest.mark.parametrize("method", NAMES)
def test_every_method_trains_every_network(
    method: str, network: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On images or frames in turn; a method that takes one takes the other, as the next test has
    it."""
    frames = (NAMES.index(method) + networks().index(network)) % 2 == 0
    frames = frames or NETWORKS[network["name"]].in_time
    job = specification(network=network, method={"name": method}, timesteps=FRAMES)
    run_until_read(job, data_for(network, frames=frames), tmp_path, monkeypatch)


@pytest.mark.parametrize("frames", [False, True], ids=["images", "frames"])
@pytest.mark.parametrize("method", methods(), ids=str)
def test_every_setting_of_a_method_trains(
    method: dict[str, Any], frames: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = specification(method=method, timesteps=FRAMES)
    run_until_read(job, data_for({"name": "convnet"}, frames=frames), tmp_path, monkeypatch)


@pytest.mark.parametrize("method", methods(), ids=str)
def test_every_setting_of_a_method_trains_on_padded_samples(
    method: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_for({"name": "convnet"}, frames=True)
    ends: dict[str, Any] = {
        f"lengths_{split}": np.arange(len(getattr(data, f"y_{split}"))) % FRAMES + 1
        for split in data.splits
    }
    job = specification(method=method, timesteps=FRAMES)
    run_until_read(job, replace(data, **ends), tmp_path, monkeypatch)


@pytest.mark.parametrize("option", options(), ids=str)
def test_every_option_trains_with_every_method_that_takes_it(
    option: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options of the loop with two methods in turn, which are all of them over the options; the
    others, and whatever is added, with all."""
    tried, names = 0, NAMES
    if option.keys() <= OF_THE_LOOP:
        first = options().index(option) % len(NAMES)
        # The next ones where a method does not take the option.
        names = NAMES[first:] + NAMES[:first]
    for number, method in enumerate(names):
        if tried == 2 and names is not NAMES:
            break
        try:
            job = specification(**{"method": {"name": method}, "timesteps": FRAMES} | option)
        except ValidationError:  # a combination that no job can ask for
            continue
        tried += 1
        frames = number % 2 == 0 and job.timesteps == FRAMES
        run_until_read(job, data_for({"name": "convnet"}, frames=frames), tmp_path, monkeypatch)
    assert tried


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    method=st.sampled_from(methods()),
    network=st.sampled_from([n for n in networks() if n["name"] not in SIDES]),
    several=st.lists(st.sampled_from(options()), max_size=6),
    frames=st.booleans(),
)
def test_options_train_together(
    method: dict[str, Any],
    network: dict[str, Any],
    several: list[dict[str, Any]],
    frames: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {"method": method, "network": network, "timesteps": FRAMES}
    for option in several:
        asked |= option
    try:
        job = specification(**asked)
    except ValidationError:
        return
    frames = (frames or job.network.in_time) and job.timesteps == FRAMES
    if job.network.in_time and not frames:
        return
    run_until_read(job, data_for(network, frames=frames), tmp_path, monkeypatch)


def on_meta(job: JobSpecification, data: Dataset) -> tuple[SpikingNetwork, Samples]:
    architecture = build(job.network, data.sample_shape, data.classes)
    channels = data.sample_shape[0]
    network = network_of(job, architecture, mean=[0.5] * channels, std=[0.3] * channels)
    network = network.to(META)
    return network, Samples(data.x_test, data.y_test, META, network.parameter_dtype)


@pytest.mark.parametrize("network", networks(), ids=lambda network: network["name"])
def test_every_network_is_evaluated_recorded_and_looked_at(network: dict[str, Any]) -> None:
    """On images or frames in turn, as methods and precisions are crossed with them below."""
    frames = NETWORKS[network["name"]].in_time or networks().index(network) % 2 == 0
    job = specification(network=network, timesteps=FRAMES)
    module, samples = on_meta(job, data_for(network, frames=frames))
    x, _ = samples[torch.arange(3)]
    steps = list(record(module, x, FRAMES))
    assert len(steps) == FRAMES
    assert all(part.device == META for step in steps for pair in step for part in pair)
    signs = spike_statistics(module, x, FRAMES)
    assert signs.shape == (len(steps[0]), 3 + MEMBRANE_BINS)
    average = MovingAverage(dict(module.named_parameters()), 0.9)
    average.update(1)
    found = sums(average.applied_to(module), samples, job, loss_function(job.loss))
    assert found.totals.shape == (1 + len(steps[0]),)
    assert {part.device for part in found} == {META}


@pytest.mark.parametrize("precision", ["float32", "tf32", "float64", "bfloat16"])
@pytest.mark.parametrize("method", methods(), ids=str)
def test_every_method_is_evaluated_in_every_precision(
    method: dict[str, Any], precision: str
) -> None:
    """Images in one go and frames in chunks, or the other way round, in turn."""
    for frames in (False, True):
        job = specification(method=method, precision=precision, timesteps=FRAMES)
        module, samples = on_meta(job, data_for({"name": "convnet"}, frames=frames))
        chunk = 2 if frames == (methods().index(method) % 2 == 0) else None
        found = sums(module, samples, job, loss_function(job.loss), chunk=chunk, samples=100)
        assert {part.device for part in found} == {META}


def test_gradients_of_layers_without_one_are_collected_there(tmp_path: Path) -> None:
    from saf.training.checkpoint import Progress

    job = specification()
    module, _ = on_meta(job, data_for({"name": "convnet"}, frames=False))
    monitor = SpikeMonitor(module, FRAMES, 10, Progress())
    monitor.keep_gradients()
    assert monitor._norms is not None
    assert monitor._norms.device == META


def test_a_read_back_inside_an_iteration_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test's own test: a loss that looks at its value."""
    plain = loss_function

    def looking(*given: Any) -> Any:
        evaluate = plain(*given)

        def read(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            value = evaluate(scores, labels)
            float(value)
            return value

        return read

    monkeypatch.setattr(trainer, "loss_function", looking)
    with pytest.raises(AssertionError, match="reads what an iteration computes"):
        run_until_read(specification(), dataset(), tmp_path, monkeypatch)
