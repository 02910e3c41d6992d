"""A process that is stopped while it holds SQLite's only write lock."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api import main
from api.settings import Settings
from tests.api.conftest import NO_BROKER, Server, serving

HOLD_THE_LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def patient_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(main, "BUSY_SECONDS", 0.3)
    with serving(Settings(data_dir=tmp_path, broker_url=NO_BROKER)) as server:
        yield server


def test_writes_are_answered_503_while_a_stopped_process_holds_the_lock_and_reads_go_on(
    patient_server: Server, tmp_path: Path
) -> None:
    job = patient_server.submit()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, str(tmp_path / "saf.sqlite3")],
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGSTOP)

        refused = patient_server.http.post("/v1/jobs", json={"dataset": "digits"})

        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "5"
        assert "keeps the database locked" in refused.json()["detail"]
        assert patient_server.get(job["urls"]["self"])["status"] == "queued"
    finally:
        holder.kill()
        holder.wait()
        if holder.stdout is not None:
            holder.stdout.close()
    assert patient_server.http.post("/v1/jobs", json={"dataset": "digits"}).status_code == 201
    assert len(patient_server.get("/v1/jobs")["data"]) == 2
