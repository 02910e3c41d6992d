"""Environments of readers: made once, by one process at a time, and found by replays."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from saf.cli.main import app
from saf.config.targets import NoReaderError
from saf.lif.export.nir.environments import (
    ENVIRONMENTS,
    INTERPRETER,
    MAKES,
    PLACE,
    Environment,
    interpreter_for,
    make,
)
from tests.waiting import PATIENCE


class Own(Environment):
    """One of packages that no network is needed for."""

    @property
    def requirements(self) -> list[str]:
        return [str(wheel) for wheel in Path(self.has).glob("*.whl")] or ["no-such-package==0"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(PLACE, str(tmp_path / "readers"))
    monkeypatch.delenv(INTERPRETER, raising=False)
    monkeypatch.delenv(MAKES, raising=False)
    return tmp_path / "readers"


def wheel(folder: Path) -> None:
    """The least that pip installs: a package `tinyreader` of version 1."""
    import zipfile

    folder.mkdir()
    with zipfile.ZipFile(folder / "tinyreader-1-py3-none-any.whl", "w") as file:
        info = "tinyreader-1.dist-info"
        file.writestr("tinyreader.py", "")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinyreader\nVersion: 1\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")


@pytest.mark.slow
def test_an_environment_is_made_once_and_found(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path / "wheels")
    own = Own("own", str(tmp_path / "wheels"), beside=True)
    with pytest.raises(NoReaderError, match="`saf readers install own` makes a Python"):
        interpreter_for(["tinyreader"], own)
    for module in ("venv", "pip", "site"):  # of whoever runs it there
        (tmp_path / "wheels" / f"{module}.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path / "wheels")
    said: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: make(own, said.append), range(2))
    assert first == second == own.python
    assert len(said) == 2  # that it is made, and in which time: once
    python, versions = interpreter_for(["tinyreader", "torch"], own)
    assert (python, versions["tinyreader"]) == (str(first), "1")
    assert versions["torch"]  # of this Python, beside which it lies
    with pytest.raises(NoReaderError, match="has no another-reader"):
        interpreter_for(["tinyreader", "another-reader"], own)


KILLED = """
import sys
from pathlib import Path
from saf.lif.export.nir import environments
with environments._turn(environments.SPYX) as lock:
    said = ["sh", "-c", "kill -9 $PPID; read line; echo ended"]
    environments._run(said, Path(sys.argv[1]), lock)
"""


def test_the_next_one_waits_for_what_a_killed_one_still_installs(
    place: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "log")]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as maker:
        assert maker.wait(PATIENCE) == -signal.SIGKILL
        with (place / "spyx.lock").open("w") as lock:
            with pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            assert maker.stdin is not None
            maker.stdin.close()
            fcntl.flock(lock, fcntl.LOCK_EX)  # what installed has ended
    assert (tmp_path / "log").read_text() == "ended\n"


@pytest.mark.slow
def test_without_a_network_the_reason_and_the_line_to_run_are_told(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MAKES, "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    own = Own("own", str(tmp_path / "nothing"), beside=False)
    with pytest.raises(NoReaderError, match="saf readers install own") as refused:
        interpreter_for(["tinyreader"], own)
    assert "no-such-package==0" in str(refused.value)
    assert own.folder.with_suffix(".log").exists()
    assert own.python is None


def test_every_environment_is_of_pinned_packages_and_listed(place: Path) -> None:
    for each in ENVIRONMENTS:
        assert each.requirements
        assert all("==" in requirement for requirement in each.requirements)
        assert each.folder.parent == place
    listed = CliRunner().invoke(app, ["readers", "--json"])
    assert [(each["name"], each["python"]) for each in json.loads(listed.stdout)] == [
        (each.name, None) for each in ENVIRONMENTS
    ]
    assert CliRunner().invoke(app, ["readers", "install", "brian"]).exit_code == 2


def test_other_packages_or_another_python_are_another_environment(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [each.folder for each in ENVIRONMENTS]
    monkeypatch.setattr(sys, "version", "4.0")
    assert not {each.folder for each in ENVIRONMENTS} & set(before)


def test_a_folder_that_cannot_be_written_to_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(PLACE, str(tmp_path / "file"))
    with pytest.raises(NoReaderError, match=PLACE):
        make(ENVIRONMENTS[1], print)
