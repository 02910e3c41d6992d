"""What the commands of `saf` take and print: sweeps, pipes, lists, checkpoints of a server."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from api.jobs.live import Streams
from saf.cli import jobs, sweeps
from saf.cli import specification as specfile
from saf.client.client import Client
from saf.training.checkpoint import Checkpoint, steps
from tests.api.conftest import Server
from tests.api.jobs.test_going_on import finish
from tests.api.jobs.test_health import SUMMARY
from tests.saf.cli.typed import saf
from tests.waiting import PATIENCE, until

COMMAND = [sys.executable, "-m", "saf.cli"]


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
        assert process.wait(PATIENCE) == 0
    assert "succeeded" in rest
    if things == "sweep":
        assert "0 of 2 ended" in lines[1]
        assert "2 of 2 ended: 2 succeeded" in rest


@pytest.mark.parametrize("things", ["job", "sweep"])
def test_with_strict_a_warning_is_an_exit_status(server: Server, things: str) -> None:
    command = ["submit"] if things == "job" else ["sweep", "submit", "--over", "seed=1,2"]
    with watching("--url", server.address, *command, "--watch", "--strict") as process:
        assert process.stdout is not None
        assert [process.stdout.readline(), process.stdout.readline()][1]  # both are queued
        if things == "sweep":
            server.succeed(server.run())
        server.succeed(server.run(), **SUMMARY)
        rest = process.stdout.read()
        assert process.wait(PATIENCE) == 1
    assert "succeeded, with warnings" in rest


def test_every_option_of_submit_is_one_of_sweep_submit() -> None:
    of_a_job, of_a_sweep = (
        {name.rstrip("_") for name in inspect.signature(command).parameters}
        for command in (jobs.submit, sweeps.submit)
    )
    assert of_a_sweep == of_a_job | {"over", "zip"}


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
        with watching("--url", server.address, "watch", job) as process:
            outputs.append(process.communicate(timeout=PATIENCE)[0])

    threads = [threading.Thread(target=watch) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: server.service.part(Streams).watched > 0)
    server.succeed(server.run())
    for thread in threads:
        thread.join()
    assert all(f"{job} succeeded" in output for output in outputs)


def epochs_done(out: Path) -> list[int]:
    saved = Checkpoint.read(out / "checkpoint.safetensors")
    return [len(saved.progress.history), saved.specification.schedule.start_epoch]


def test_a_finished_training_here_goes_on_for_more_epochs(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(trained / "checkpoint.safetensors", out)
    step = Checkpoint.read(out / "checkpoint.safetensors").progress.step
    done = saf("train", "--epochs", "3", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert f"goes on from step {step}" in done.stdout
    assert epochs_done(out) == [3, 2]
    before = (out / "lif.safetensors").read_bytes()
    # The same command once more, also with all settings said, changes nothing.
    for options in (("--epochs", "3"), (*SMALL[:2], "--epochs", "3", *SMALL[4:])):
        again = saf("train", *options, "--out", str(out))
        assert again.returncode == 0, again.stderr
        assert epochs_done(out) == [3, 2]
        assert (out / "lif.safetensors").read_bytes() == before
    fewer = saf("train", "--epochs", "1", "--out", str(out))
    assert fewer.returncode == 1
    assert "epochs counts all of them" in fewer.stderr


def test_a_training_here_starts_with_the_weights_of_a_file(trained: Path, tmp_path: Path) -> None:
    source, out = trained / "checkpoint.safetensors", tmp_path / "out"
    options = (*SMALL, "--init", str(source), "--freeze", "layer*", "--out", str(out))
    done = saf("train", *options)
    assert done.returncode == 0, done.stderr
    before, after = Checkpoint.read(source), Checkpoint.read(out / "checkpoint.safetensors")
    for name, weight in (before.best or before.weights).items():
        same = bool((after.weights[name] == weight).all())
        assert same == name.startswith("layer1."), name
    alone = saf("train", *SMALL, "--freeze", "layer1", "--out", str(tmp_path / "other"))
    assert alone.returncode == 1
    assert "--freeze needs --init" in alone.stderr


def test_a_job_is_continued_and_another_starts_from_it(server: Server, tmp_path: Path) -> None:
    old = finish(server, tmp_path)["id"]
    done = saf("continue", old, "--epochs", "3", "--name", "more", "--json", url=server.address)
    assert done.returncode == 0, done.stderr
    new = json.loads(done.stdout)
    assert (new["continues"], new["name"], new["specification"]["epochs"]) == (old, "more", 7)
    server.http.post(f"/v1/jobs/{new['id']}/cancel")
    again = saf("continue", new["id"], "--epochs", "1", url=server.address)
    assert again.returncode == 1
    assert "only a job that has succeeded" in again.stderr
    options = ("--init", old, "--freeze", "layer1", "--freeze", "layer2")
    sent = saf("submit", *options, "--json", url=server.address)
    assert sent.returncode == 0, sent.stderr
    assert json.loads(sent.stdout)["specification"]["init"] == {
        "job": old,
        "freeze": ["layer1", "layer2"],
    }
    sent = saf(
        "submit", "--set", f"init.job={old}", "--set", "init.freeze=*", "--json", url=server.address
    )
    assert json.loads(sent.stdout)["specification"]["init"] == {"job": old, "freeze": ["*"]}
    sweep = saf("sweep", "submit", "--over", "seed=0,1", *options, url=server.address)
    assert sweep.returncode == 0, sweep.stderr
    with Client(server.address) as client:
        job = client.continue_job(old, epochs=2, learning_rate=0.01, idempotency_key="k")
        assert client.continue_job(old, epochs=2, learning_rate=0.01, idempotency_key="k") == job
    assert job["specification"]["optimizer"]["learning_rate"] == 0.01
