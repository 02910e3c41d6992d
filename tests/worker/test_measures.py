"""What a worker measures, and that its heartbeats carry it to the database."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from api.store.tables.jobs import Status
from api.store.tables.workers import Worker
from tests.waiting import until
from tests.worker.conftest import Crew, Desk
from worker.measures import Measures, ask_gpus
from worker.processes.spool import Outbox
from worker.runner import Runner

ANSWER = """\
0, GPU-aaaa, 37, 1024, 81920
1, GPU-bbbb, [N/A], [N/A], 81920
2, GPU-cccc, 1, 2, 3
no card at all
"""


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is tested here does not depend on the database."""
    return sqlite_url


@pytest.fixture
def smi(tmp_path: Path) -> dict[str, str]:
    """An environment with a program by the name of nvidia-smi."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{ANSWER}END\n")
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}"}


def test_the_cards_of_a_worker_are_told_and_what_they_do_not_tell_is_null(
    smi: dict[str, str],
) -> None:
    first, second = ask_gpus(smi, {"0", "GPU-bbbb"})
    assert first == {
        "index": "0",
        "use": 0.37,
        "memory_used_bytes": 2**30,
        "memory_bytes": 80 * 2**30,
    }
    assert (second["index"], second["use"], second["memory_used_bytes"]) == ("1", None, None)


def test_a_machine_without_a_card_has_null(tmp_path: Path) -> None:
    assert ask_gpus({"PATH": str(tmp_path)}, {"0"}) == []
    measures = Measures(tmp_path, gpus=set(), outbox_bytes=lambda: 5, stalls=lambda: 1)
    measures.start()
    found = measures.now()
    measures.stop()
    assert found["gpus"] is None
    assert (found["outbox_bytes"], found["stalls"]) == (5, 1)
    assert 0 < found["disk_free_bytes"] <= found["disk_bytes"]
    assert found["memory_bytes"] > 2**20


def test_a_thread_asks_for_the_cards(
    smi: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", smi["PATH"])
    measures = Measures(tmp_path, gpus={"GPU-aaaa"}, outbox_bytes=lambda: 0, stalls=lambda: 0)
    measures.start()
    (card,) = until(lambda: measures.now()["gpus"])
    measures.stop()
    assert card["use"] == 0.37


def test_heartbeats_carry_them(desk: Desk, runner: Runner, crew: Crew) -> None:
    job_id = desk.submit(steps="100000", step_seconds="0.02")
    runner.start()
    crew.message(runner)
    desk.wait(job_id, Status.running)

    def written() -> dict[str, object] | None:
        with desk.database.reading() as session:
            return session.get_one(Worker, runner.id).measures

    found = until(written)
    assert found is not None
    assert found["gpus"] is None
    assert found["stalls"] == 0
    assert found["disk_bytes"]
    desk.cancel(job_id)
    desk.wait(job_id, Status.cancelled)


def test_what_waits_is_counted_in_memory_and_in_the_file(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "spool")
    assert outbox.waiting_bytes() == 0
    line = b'{"report": "Step", "step": 1, "epoch": 0.1, "metrics": {"loss": 1.0}}'
    for _ in range(2**23 // len(line)):
        outbox.put(line)
    assert (tmp_path / "spool").stat().st_size > 2**20
    waiting = outbox.waiting_bytes()
    assert 2**23 - 100 < waiting < 2**23 + 2**20
    while outbox.has_more():
        outbox.take()
    assert outbox.waiting_bytes() == 0
