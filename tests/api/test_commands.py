"""What the commands of `saf` take and print: sweeps, pipes, lists, checkpoints of a server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from api import specfile
from saf.checkpoint import Checkpoint, steps
from tests.api.conftest import Server, until

COMMAND = [sys.executable, "-m", "api.cli"]


def saf(*arguments: str, url: str = "http://127.0.0.1:9") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "--url", url, *arguments], capture_output=True, text=True, timeout=200
    )


@pytest.mark.parametrize(
    ("setting", "place", "value"),
    [
        ("augment=flip", "augment", ["flip"]),
        ('augment="flip"', "augment", ["flip"]),
        ('augment=["flip"]', "augment", ["flip"]),
        ("augment=flip,crop", "augment", ["flip", "crop"]),
        ("augment=[]", "augment", []),
        ("name=a,b", "name", "a,b"),
        ("seed=3", "seed", 3),
    ],
)
def test_a_single_value_for_a_list_is_a_list_of_it(setting: str, place: str, value: Any) -> None:
    assert specfile.read(None, {}, [setting])[place] == value
    assert specfile.read(None, {"dataset": "ds_of_a_server"}, [setting])[place] == value


def test_a_list_inside_of_a_choice_is_found_too() -> None:
    body = specfile.read(None, {"network": "convnet"}, ["network.channels=16"])
    assert body["network"] == {"name": "convnet", "channels": [16]}
    body = specfile.read(None, {}, ["network.name=mlp", "network.features=16,8", "epochs=1"])
    assert body["network"] == {"name": "mlp", "features": [16, 8]}
    assert specfile.check(body).network.name == "mlp"


def test_values_of_a_sweep_over_a_list_are_lists() -> None:
    assert specfile.read_over(["augment=flip,crop"]) == {"/augment": [["flip"], ["crop"]]}
    assert specfile.read_over(['augment=[[],["flip"]]']) == {"/augment": [[], ["flip"]]}
    network = {"network": {"name": "mlp"}}
    assert specfile.read_over(["network.features=8,16"], network) == {
        "/network/features": [[8], [16]]
    }
    assert specfile.read_over(["seed=1,2"]) == {"/seed": [1, 2]}


def test_a_sweep_takes_what_a_job_takes(shared: Server) -> None:
    options = ("--dataset", "digits", "--network", "mlp", "--method", "saf-e", "--epochs", "2")
    more = ("--timesteps", "3", "--set", "augment=flip", "--name", "one name")
    done = saf(
        *("sweep", "submit", *options, *more, "--over", "seed=1,2", "--json"), url=shared.address
    )
    assert done.returncode == 0, done.stderr
    sweep = json.loads(done.stdout)
    assert sweep["name"] == "one name"
    job = shared.get(f"/v1/jobs/{sweep['rows'][0]['job']}")["specification"]
    assert (job["network"]["name"], job["method"]["name"]) == ("mlp", "saf-e")
    assert (job["epochs"], job["timesteps"], job["dataset"]) == (2, 3, "digits")
    assert job["augment"] == ["flip"]
    shared.http.post(f"/v1/sweeps/{sweep['id']}/cancel")


def watching(*arguments: str) -> subprocess.Popen[str]:
    """A command that prints into a pipe, line by line as it goes."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, text=True, env=environment
    )


@pytest.mark.parametrize("things", ["job", "sweep"])
def test_watching_prints_into_a_pipe_while_it_goes_on(server: Server, things: str) -> None:
    command = ["submit"] if things == "job" else ["sweep", "submit", "--over", "seed=1,2"]
    with watching("--url", server.address, *command, "--watch") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        assert process.poll() is None  # they came before its end
        assert "queued" in lines[1]
        for _ in range(1 if things == "job" else 2):
            server.succeed(server.run())
        rest = process.stdout.read()
        assert process.wait(60) == 0
    assert "succeeded" in rest
    if things == "sweep":
        assert "0 of 2 ended" in lines[1]
        assert "2 of 2 ended: 2 succeeded" in rest


def test_a_reader_of_a_pipe_that_leaves_early_gets_no_traceback(shared: Server) -> None:
    for _ in range(3):
        shared.submit()
    done = subprocess.run(
        f"{' '.join(COMMAND)} --url {shared.address} list --json | head -c 1",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    assert "Errno" not in done.stderr


SMALL = ("--network", "mlp", "--epochs", "2", "--timesteps", "1", "--set", "network.features=8")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training of two epochs leaves, with the checkpoints of both."""
    out = tmp_path_factory.mktemp("trained") / "out"
    done = saf("train", *SMALL, "--out", str(out))
    assert done.returncode == 0, done.stderr
    return out


def downloaded(trained: Path, out: Path, *, dataset: str | None = None) -> int:
    """A folder with nothing but a checkpoint from the middle; its step."""
    out.mkdir()
    step, path = steps(trained / "checkpoints")[-1]
    shutil.copy(path, out / "checkpoint.safetensors")
    if dataset is not None:
        saved = Checkpoint.read(path)
        specification = saved.specification.model_copy(update={"dataset": dataset})
        fields = {name: getattr(saved, name) for name in Checkpoint.__dataclass_fields__}
        Checkpoint(**fields | {"specification": specification}).write(
            out / "checkpoint.safetensors"
        )
    return step


@pytest.mark.parametrize("options", [(), SMALL], ids=["nothing said", "the same settings"])
def test_a_training_here_goes_on_from_a_downloaded_checkpoint(
    trained: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    step = downloaded(trained, tmp_path / "out")
    done = saf("train", *options, "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert f"goes on from step {step}" in done.stdout
    name = "lif.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (trained / name).read_bytes()


def test_its_data_set_may_have_another_name_here_but_not_other_data(
    trained: Path, tmp_path: Path
) -> None:
    step = downloaded(trained, tmp_path / "out", dataset="ds_of_a_server")
    missing = saf("train", "--out", str(tmp_path / "out"))
    assert missing.returncode == 1
    assert "there is no data set 'ds_of_a_server'" in missing.stderr
    done = saf("train", "--dataset", "digits", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert f"goes on from step {step}" in done.stdout


def test_a_checkpoint_of_other_settings_or_a_damaged_one_is_told(
    trained: Path, tmp_path: Path
) -> None:
    downloaded(trained, tmp_path / "out")
    other = saf("train", *SMALL, "--set", "seed=9", "--out", str(tmp_path / "out"))
    assert other.returncode == 1
    assert "another seed" in other.stderr
    file = tmp_path / "out" / "checkpoint.safetensors"
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    damaged = saf("train", *SMALL, "--out", str(tmp_path / "out"))
    assert damaged.returncode == 1
    assert "checkpoint.safetensors is damaged" in damaged.stderr
    assert "Traceback" not in damaged.stderr


def test_what_was_interrupted_here_later_than_the_download_goes_on(
    trained: Path, tmp_path: Path
) -> None:
    downloaded(trained, tmp_path / "out")
    shutil.copytree(trained / "checkpoints", tmp_path / "out" / "checkpoints")
    last = steps(trained / "checkpoints")[0][0]
    done = saf("train", *SMALL, "--out", str(tmp_path / "out"))
    assert f"goes on from step {last}" in done.stdout


def test_a_job_of_a_server_is_watched_by_several_at_once(server: Server) -> None:
    job = server.submit()["id"]
    outputs: list[str] = []

    def watch() -> None:
        outputs.append(saf("watch", job, url=server.address).stdout)

    threads = [threading.Thread(target=watch) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: server.service.streams.watched > 0, 60)
    server.succeed(server.run())
    for thread in threads:
        thread.join()
    assert all(f"{job} succeeded" in output for output in outputs)
