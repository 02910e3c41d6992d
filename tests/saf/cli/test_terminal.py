"""Whatever people name their things, terminals get no control characters, in any command."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
from rich.console import Console

from api.store.jobs import lifecycle
from api.store.tables.results import LogChunk
from saf.cli import main as cli
from saf.cli import output
from saf.client.progress import Moment, TrainingBar
from tests.api.conftest import Server

EVIL = "a\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe\rb\x00".replace("\x00", "")
FORGED = "fine\nFORGED  succeeded"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, server: Server) -> Any:
    """What a command writes into a terminal."""

    def run(*arguments: str) -> str:
        out = Terminal()
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setattr(sys, "argv", ["saf", "--url", server.address, *arguments])
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", out)
        with pytest.raises(SystemExit):
            cli.main()
        monkeypatch.undo()
        return out.getvalue()

    return run


def assert_harmless(text: str) -> None:
    for line in text.split("\n"):
        assert line.replace("\t", "").isprintable(), repr(line)


@pytest.fixture
def job_id(server: Server) -> str:
    """A job that failed, everything of which was named by an enemy."""
    job_id = str(server.submit(name=EVIL + FORGED, metadata={"k": EVIL})["id"])
    claim = server.run()
    with server.service.database.writing() as session:
        # As a restored database may hold it.
        chunk = LogChunk(job_id=job_id, attempt=1, text=f"{EVIL}\nsecond line\n", at=0.0)
        session.add(chunk)
        lifecycle.fail(session, claim, code="data", message=EVIL, hint=EVIL)
    return job_id


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["list"],
        ["list", "--json"],
        ["show", "JOB"],
        ["show", "JOB", "--json"],
        ["logs", "JOB"],
        ["watch", "JOB"],
        ["watch", "JOB", "--json"],
        ["retry", "JOB"],
        ["show", EVIL],
        ["list", "--status", EVIL],
        ["download", "JOB", EVIL],
    ],
)
def test_no_command_lets_a_name_steer_the_terminal(
    shown: Any, job_id: str, command: list[str]
) -> None:
    text = shown(*(job_id if word == "JOB" else word for word in command))
    assert text
    assert_harmless(text)
    assert not any(line.startswith("FORGED") for line in text.split("\n"))


@pytest.mark.parametrize("command", [["show"], ["show", "--csv"], ["show", "--json"], ["list"]])
def test_no_table_of_a_sweep_does_either(shown: Any, server: Server, command: list[str]) -> None:
    sent = server.http.post(
        "/v1/sweeps",
        json={"name": EVIL, "job": {"dataset": "digits"}, "over": {"/name": [EVIL, FORGED]}},
    )
    assert sent.status_code == 201, sent.text
    of = [] if command == ["list"] else [sent.json()["id"]]
    text = shown("sweep", *command, *of)
    assert "digits" in text or "name" in text
    assert_harmless(text)


def test_a_file_gets_a_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    output.pass_on(EVIL)
    assert capsys.readouterr().out == EVIL


def test_the_bar_of_a_training_is_harmless_and_takes_no_markup() -> None:
    for console in (Console(file=io.StringIO(), width=200), Console(file=Terminal(), width=200)):
        with TrainingBar(console, EVIL) as bar:
            bar.show(Moment(status="[red]" + EVIL, note=EVIL))
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue()
        assert "[red]" in text
        for character in ("\x07", "\x9b", "\u202e", "\x1b]"):
            assert character not in text
        assert "\x1b[2J" not in text
