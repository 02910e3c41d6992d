"""Data that can be read in more than one way: the terminal asks, a script is told which option to
add, for uploads and for what is read on this machine."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.settings import Settings
from saf.cli.data import reading
from saf.client.client import ApiError, Client
from tests.api.conftest import NO_BROKER, Server, serving
from tests.api.datasets.asking import grid, interpreter
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(interpreter(tmp_path_factory.mktemp("environment")))


@pytest.fixture(scope="module")
def asking(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("asking"), broker_url=NO_BROKER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", python)
        with serving(settings) as server:
            yield server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "grid.bin"
    path.write_bytes(grid())
    return path


def saf(python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "saf.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL
    )


def in_a_terminal(python: str, *arguments: str, types: str) -> tuple[int, str]:
    """Exit status and output of a command whose input and output are a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [python, "-m", "saf.cli", *arguments], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    os.write(ours, types.encode())
    said = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        said += part
    os.close(ours)
    return process.wait(PATIENCE), said.decode()


def test_a_script_is_told_which_option_to_add_and_the_upload_is_kept(
    python: str, asking: Server, file: Path
) -> None:
    url = ("--url", asking.address)
    refused = saf(python, *url, "datasets", "upload", str(file), "--name", "script")
    assert refused.returncode == 1
    assert "Which axes has the grid?" in refused.stderr
    assert "--layout 'N H W C'  40 images, channels last" in refused.stderr
    assert "saf datasets answer ds_" in refused.stderr
    wrong = saf(python, *url, "datasets", "answer", "script", "--layout", "N W H C")
    assert (wrong.returncode, "a grid has no axes N W H C" in wrong.stderr) == (1, True)
    done = saf(python, *url, "datasets", "answer", "script", "--layout", "N H W C")
    assert done.returncode == 0, done.stderr
    assert "30 + 10 samples" in done.stdout
    assert "script" in saf(python, *url, "datasets").stdout
    assert saf(python, *url, "datasets", "delete", "script").returncode == 0


def test_somebody_at_a_terminal_is_asked_until_the_answer_fits(
    python: str, asking: Server, file: Path
) -> None:
    status, said = in_a_terminal(
        *(python, "--url", asking.address, "upload", str(file), "--name", "asked"), types="7\n2\n"
    )
    assert status == 0, said
    assert "Which axes has the grid?" in said
    assert f"{asking.address}/datasets/ds_" in said, "where the pictures are"
    assert said.count("Which one, 1 to 2?") == 2
    assert asking.get("/v1/datasets/asked")["settings"] == {"layout": "N H W C"}


@pytest.mark.slow
def test_the_python_client_returns_the_questions_and_takes_the_answer(
    asking: Server, file: Path
) -> None:
    with Client(asking.address) as client:
        found = client.wait_dataset(client.upload_dataset(file, name="python")["id"])
        assert repr(found) == ("Dataset('python', needs_choice: layout='N C H W' or 'N H W C')")
        with pytest.raises(ApiError, match="Which axes has the grid") as refused:
            client.submit({"dataset": "python"})
        assert refused.value.status == 409
        with pytest.raises(ApiError, match="no axes"):
            client.answer_dataset("python", layout="N W H C")
        read = client.answer_dataset("python", layout="N C H W")
        assert read["status"] == "ready"
        said = client.upload_dataset(file, name="said", settings={"layout": "N H W C"})
        assert said["status"] == "ready"


def local(python: str, file: Path, *more: str) -> list[str]:
    """The arguments of a program that reads a file as `saf train` and `saf run` do."""
    code = (
        "import sys; from saf.cli import offline; from saf.cli.data import reading; "
        "print(offline.dataset_of(sys.argv[1], reading.settings_of(sys.argv[2:])))"
    )
    return [python, "-c", code, str(file), *more]


def test_a_file_on_this_machine_is_asked_about_as_well(python: str, file: Path) -> None:
    refused = saf(python, "run", "no.safetensors", str(file))
    assert refused.returncode == 1
    assert "grid.bin can be read in more than one way" in refused.stderr
    assert "--read layout='N H W C'  40 images, channels last" in refused.stderr
    trained = saf(python, "train", "--dataset", str(file), "--out", str(file.parent / "out"))
    assert (trained.returncode, "--read layout='N C H W'" in trained.stderr) == (1, True)
    run = saf(python, "run", "no.safetensors", str(file), "--read", "layout=N H W C")
    assert "no.safetensors" in run.stderr, "the data were read, and the network is what lacks"
    code = subprocess.run(
        local(python, file, "layout=N C H W"), capture_output=True, text=True, check=True
    )
    assert "30 + 10 samples" in code.stdout
    status, said = in_a_terminal(python, "run", "no.safetensors", str(file), types="1\n")
    assert status == 1
    assert "N C H W: 40 images, channels first  (" in said, "the file with its picture"
    assert "no.safetensors" in said


def test_what_sets_nothing_is_refused() -> None:
    assert reading.settings_of(["on-damaged=skip"], layout="") == {"on_damaged": "skip"}
    with pytest.raises(ValueError, match="sets nothing"):
        reading.settings_of(["layout"])
