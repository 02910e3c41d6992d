"""A backup while a job trains, restored elsewhere: the job goes on, to the same weights."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from safetensors.numpy import load_file

from tests.acceptance.conftest import Service
from tests.acceptance.test_kills import find
from tests.waiting import PATIENCE, until


def saf(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "saf.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )


def wait_for_checkpoint(service: Service, job_id: str) -> None:
    database = sqlite3.connect(service.directory / "data" / "saf.sqlite3")
    query = "SELECT count(*) FROM checkpoints WHERE job_id = ?"
    until(lambda: database.execute(query, (job_id,)).fetchone()[0])
    database.close()


def test_a_job_backed_up_in_training_ends_elsewhere_with_the_weights_of_the_undisturbed_one(
    service: Service, tmp_path: Path
) -> None:
    job_id = service.submit(
        dataset="digits",
        network={"name": "mlp", "features": [24]},
        epochs=50,
        seed=5,
        augment=["crop"],
    )
    training = find(service, "worker.processes.child")
    wait_for_checkpoint(service, job_id)
    # It stands still meanwhile, or it would have to be so long that it outlasts a backup.
    os.kill(training, signal.SIGSTOP)
    file = tmp_path / "backup.tar"
    data = service.directory / "data"
    done = saf("backup", str(file), "--data-dir", str(data))
    os.kill(training, signal.SIGCONT)
    assert done.returncode == 0, done.stderr
    assert service.wait(job_id)["attempt"] == 1
    undisturbed = service.download(job_id, "lif.safetensors", tmp_path / "undisturbed")

    refused = saf("restore", str(file), "--data-dir", str(data))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "is not empty" in refused.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = saf("restore", str(file), "--data-dir", str(elsewhere / "data"))
    assert done.returncode == 0, done.stderr
    restored = Service(elsewhere, lease_seconds=10.0)
    try:
        job = restored.wait(job_id)
        assert job["status"] == "succeeded", restored.logs(job_id)
        assert job["attempt"] == 2, "it had ended before the backup: make it longer"
        events = restored.get(f"/v1/jobs/{job_id}/events")["data"]
        assert "recovering" in [event["type"] for event in events]
        (series,) = restored.get(f"/v1/jobs/{job_id}/metrics", names="loss", max_points=100000)[
            "series"
        ]
        steps = [step for step, _ in series["points"]]
        assert steps == list(range(1, job["progress"]["steps_total"] + 1))
        recovered = restored.download(job_id, "lif.safetensors", tmp_path / "recovered")
        listed = saf("gc", "--dry-run", "--data-dir", str(elsewhere / "data"))
        assert listed.returncode == 0, listed.stderr
        assert "would go: 0 bytes in 0 things" in listed.stdout
    finally:
        restored.stop()
    one, other = load_file(undisturbed), load_file(recovered)
    assert one.keys() == other.keys()
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)
