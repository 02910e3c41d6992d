"""Networks on data in time at every target: the same there until the end of each sample, or
refused in words."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from saf.lif.export.c import _compiler
from saf.lif.exporting import check, export
from saf.lif.plain import PlainNetwork
from saf.model.inputs import floats
from tests.saf.lif.export.conftest import Replayed
from tests.saf.lif.export.temporal_networks import MADE, Made, made, skipping


def replays(which: Made, target: str, folder: Path) -> None:
    """Raise AssertionError unless it is the same network there, until the end of each sample."""
    done = export(
        which.network,
        target,
        folder,
        which.x,
        which.y,
        which.lengths,
        unit=which.unit,
    )
    found = done.certificate
    # Of rounding there is little in networks as small as these.
    assert found["spikes_differing"] <= 0.001 * found["spikes_compared"], found["statement"]
    assert found["predictions_differing"] == 0, found["statement"]
    if which.network.description.grid is not None:
        assert done.verdict == "identical", found["statement"]
    if which.lengths is not None:
        neurons = which.network.description.architecture.neurons
        assert found["until_ends"]
        assert found["spikes_compared"] == int(which.lengths.sum()) * neurons


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_a_network_on_data_in_time_is_the_same_elsewhere(name: str, tmp_path: Path) -> None:
    which = MADE[name]()
    for target in ("python", "onnx"):
        replays(which, target, tmp_path)
    if which.network.description.grid is None:
        assert check(which.network, "c")
    else:
        replays(which, "c", tmp_path)


@pytest.mark.parametrize("name", MADE)
def test_plain_operations_of_torch_have_the_same_spikes_and_scores_after_each_step(
    name: str,
) -> None:
    which = MADE[name]()
    network = which.network
    x = floats(torch.from_numpy(which.x), torch.float32, which.unit)
    image = network.description.image
    x = x if image is None else image.sequence(x)
    x = x[..., None, None] if x.dim() == 3 else x
    with torch.no_grad():
        scores, spikes, *after_each_step = PlainNetwork(network)(x)
    names = [layer.name for layer in network.layers if layer.neuron is not None]
    for t, step in enumerate(network.run(x)):
        for layer, fired in zip(names, spikes, strict=True):
            assert torch.equal(fired[:, t], step.spikes[layer])
        if after_each_step:
            torch.testing.assert_close(after_each_step[0][:, t], step.scores)
    torch.testing.assert_close(scores, step.scores)
    assert len(after_each_step) == network.description.frames


@pytest.mark.slow
def test_programs_of_torch_and_webassembly_end_where_the_series_do(tmp_path: Path) -> None:
    for target in ("torch-export", "wasm"):
        replays(made("grid: learned delays"), target, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["norse", "sinabs", "snntorch", "spikingjelly", "rockpool"])
@pytest.mark.parametrize(
    "name", ["grid: learned delays", "grid: padded series, `weighted`", "encoding `rate`"]
)
def test_readers_of_nir_run_it_until_the_end_of_each_series(
    name: str, target: str, tmp_path: Path, replayed: Replayed
) -> None:
    which = made(name)
    if why := check(which.network, f"nir-{target}"):
        assert target == "rockpool", why
        return
    x, lengths = which.x, which.lengths
    done = replayed(which.network, f"nir-{target}", tmp_path, x, lengths=lengths, unit=which.unit)
    assert done.verdict == "identical", done.certificate["statement"]


def test_the_c_of_series_runs_so_many_steps_as_it_is_told(tmp_path: Path) -> None:
    which = skipping(grid=True)
    export(which.network, "c", tmp_path)
    library = tmp_path / "snn.so"
    command = [*_compiler(), "-std=c99", "-shared", "-fPIC", str(tmp_path / "snn.c")]
    subprocess.run([*command, "-o", str(library)], check=True)
    run = ctypes.CDLL(str(library)).snn_run_steps
    x = which.x.reshape(len(which.x), -1)
    assert which.lengths is not None
    found = [run(row.tobytes(), int(end)) for row, end in zip(x, which.lengths, strict=True)]
    floating = torch.from_numpy(which.x).float() / 255
    expected = which.network.predict(floating, torch.from_numpy(which.lengths))
    np.testing.assert_array_equal(found, expected.numpy())
