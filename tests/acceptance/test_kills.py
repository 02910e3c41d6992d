"""kill -9 of every process of the service, one after another, while one job trains."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Service
from tests.waiting import until


def descendants(parent: int) -> dict[int, str]:
    """The processes under `parent`, with their command lines."""
    children: dict[int, list[int]] = {}
    commands: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if fields[0] == "Z":
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
            commands[int(entry.name)] = (
                (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            )
        except OSError:
            continue
    found: dict[int, str] = {}
    open_ = [parent]
    while open_:
        for child in children.get(open_.pop(), []):
            if child not in found:
                found[child] = commands.get(child, "")
                open_.append(child)
    return found


def find(service: Service, part: str) -> int:
    """The process of the service whose command line holds `part`, once there is one."""

    def found() -> int | None:
        family = sorted(descendants(service.process.pid).items())
        return next((pid for pid, command in family if part in command), None)

    def said() -> object:
        return part, descendants(service.process.pid), service.log.read_text()[-2000:]

    pid = until(found, said=said)
    assert pid is not None
    return pid


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Its own for each test here; jobs of a killed worker are found soon."""
    running = Service(tmp_path, lease_seconds=5.0)
    yield running
    running.stop()


def test_a_job_survives_kill_9_of_each_process_and_succeeds_once(service: Service) -> None:
    job_id = service.submit(dataset="digits", epochs=45, seed=3)
    service.wait(job_id, "running", step=30)
    for part in ("worker.processes.child", "-m worker", "api.commands.web", "valkey"):
        victim = find(service, part)
        os.kill(victim, signal.SIGKILL)
        until(lambda gone=victim: gone not in descendants(service.process.pid))  # type: ignore[misc]
        service.wait_until_ready()
        step = service.get(f"/v1/jobs/{job_id}")["progress"]["step"]
        job = service.wait(job_id, "running", "converting", "succeeded", step=step + 15)
        assert job["status"] == "running", "the job was over before all was broken: make it longer"
    job = service.wait(job_id)
    assert job["status"] == "succeeded", service.logs(job_id)
    assert job["attempt"] >= 3
    types = [event["type"] for event in service.get(f"/v1/jobs/{job_id}/events", limit=200)["data"]]
    assert types.count("succeeded") == 1
    for name in ("loss", "accuracy"):
        (series,) = service.get(f"/v1/jobs/{job_id}/metrics", names=name, max_points=100000)[
            "series"
        ]
        steps = [step for step, _ in series["points"]]
        assert steps == list(range(1, job["progress"]["steps_total"] + 1))


def test_kill_9_of_the_service_itself_leaves_nothing_behind(service: Service) -> None:
    job_id = service.submit(dataset="digits", epochs=200)
    service.wait(job_id, "running", step=5)
    family = descendants(service.process.pid)
    assert len(family) >= 4
    service.process.kill()
    service.process.wait()

    def left() -> dict[int, str]:
        return {pid: command for pid, command in family.items() if alive(pid)}

    until(lambda: not left(), said=left)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
