"""`--preset`: settings to start from, and the files of SHD and SSC as they are distributed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import saf as library
from saf.cli import specification as specfile
from tests.api.conftest import Server
from tests.saf.cli.typed import saf

UNITS = 700
SMALL = ["--set", "network.features=[6,6]", "--set", "network.delays=[0,3]", "--epochs", "1"]


def written(path: Path, samples: int, classes: int, seconds: float) -> None:
    """A file in the layout of SHD and SSC: float16 times in s, uint16 units, and `extra`."""
    generator = np.random.default_rng(samples)
    with h5py.File(path, "w") as file:
        shape = (samples,)
        times = file.create_dataset("spikes/times", shape, h5py.vlen_dtype(np.float16))
        units = file.create_dataset("spikes/units", shape, h5py.vlen_dtype(np.uint16))
        labels = np.arange(samples, dtype=np.uint16) % classes
        for index, label in enumerate(labels):
            count = int(generator.integers(200, 400))
            times[index] = np.sort(generator.uniform(0, seconds, count)).astype(np.float16)
            around = generator.normal(30 + 600 * label / classes, 20, count)
            units[index] = around.clip(0, UNITS - 1).astype(np.uint16)
        file["labels"] = labels
        file["extra/speaker"] = generator.integers(0, 12, samples).astype(np.uint16)
        file["extra/keys"] = np.array([f"word {n}".encode() for n in range(classes)], "S21")
        file["extra/meta_info/gender"] = np.array([b"female", b"male"] * 6, "S6")
        file["extra/meta_info/age"] = np.arange(20, 32, dtype=np.uint16)
        file["extra/meta_info/body_height"] = np.arange(160, 172, dtype=np.uint16)


def heidelberg(folder: Path, name: str, packed: bool) -> Path:
    """The files of SHD or SSC with few samples of each of their classes."""
    folder.mkdir()
    classes, seconds = {"shd": (20, 1.37), "ssc": (35, 0.99)}[name]
    splits = ("train", "test") if name == "shd" else ("train", "valid", "test")
    for split in splits:
        path = folder / f"{name}_{split}.h5"
        written(path, 2 * classes if split == "train" else classes, classes, seconds)
        if packed:
            (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "preset", "packed", "steps"),
    [("shd", "shd", True, 140), ("ssc", "ssc-rnn", False, 100)],
)
def test_one_command_trains_on_the_files_as_they_are_distributed(
    name: str, preset: str, packed: bool, steps: int, tmp_path: Path
) -> None:
    folder = heidelberg(tmp_path / "files", name, packed)
    small = SMALL[:2] + SMALL[4:] if preset.endswith("rnn") else SMALL
    where = ["--dataset", str(folder), "--out", str(tmp_path / "out")]
    done = saf("train", "--preset", preset, *where, *small)
    assert done.returncode == 0, done.stderr
    network = library.load_lif(tmp_path / "out" / "lif.safetensors")
    assert (network.timesteps, network.description.sample_shape) == (steps, (UNITS, 1, 1))
    assert network.class_names[:2] == ("word 0", "word 1")
    assert network(torch.zeros(1, steps, UNITS, 1, 1)).isfinite().all()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    asked = report["specification"]
    assert asked["neuron"]["name"] == "plif"
    assert asked["network"]["features"] == [6, 6]
    assert asked["timesteps"] == steps


@pytest.mark.slow
def test_the_files_are_uploaded_where_a_job_starts_from_their_preset(
    shared: Server, tmp_path: Path
) -> None:
    folder = heidelberg(tmp_path / "files", "shd", packed=False)
    asked = ("submit", "--preset", "shd", "--dataset", str(folder), *SMALL)
    sent = saf(*asked, url=shared.address)
    assert sent.returncode == 0, sent.stderr
    job = shared.get(f"/v1/jobs/{sent.stdout.split()[0]}")
    assert job["specification"]["timesteps"] == 140
    (dataset,) = (d for d in shared.get("/v1/datasets")["data"] if d["name"] == "shd")
    assert (dataset["shape"], dataset["timesteps"], dataset["classes"]) == ([700, 1, 1], 140, 20)
    assert (dataset["counts"]["train"], dataset["counts"]["test"]) == (40, 20)
    by_name = saf("submit", "--preset", "shd-rnn", "--dry", "--json", url=shared.address)
    assert json.loads(by_name.stdout)["specification"]["dataset"] == "shd"


@pytest.mark.parametrize("command", [("submit",), ("sweep", "submit", "--over", "seed=0,1")])
def test_a_path_without_a_preset_is_refused_with_the_command_that_uploads_it(
    command: tuple[str, ...], shared: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "my photos"
    folder.mkdir()
    refused = saf(*command, "--dataset", str(folder), url=shared.address)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"saf upload '{folder}' --name 'my photos'" in refused.stderr
    assert f"saf train --dataset '{folder}'" in refused.stderr


def test_a_preset_is_where_a_specification_begins() -> None:
    preset = specfile.preset_of("rows")
    body: dict[str, Any] = specfile.read(None, {"epochs": 3}, ["network.features=[8]"], preset)
    assert body["input"] == {"present": "rows"}
    assert (body["epochs"], body["network"]) == (3, {"name": "rnn", "features": [8]})
    again = specfile.read(None, {}, [], preset)
    assert again["network"]["features"] == [128, 128]
    assert specfile.check(again).input.present == "rows"


def test_what_is_no_preset_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    refused = saf("train", "--preset", "nothing")
    assert refused.returncode != 0
    assert "there are quick, rows," in " ".join(refused.stderr.split())
    (tmp_path / "job.json").write_text("{}")
    both = saf("train", str(tmp_path / "job.json"), "--preset", "quick")
    assert "give either SPEC.json or --preset" in both.stderr
