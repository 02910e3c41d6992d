"""The checker sees every violation: a perfect run is spoilt in one way at a time."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, update

from api.store.blobs import references
from api.store.jobs import lifecycle
from api.store.tables.jobs import Job, JobLabel, Status
from api.store.tables.results import Artifact, Event, MetricChunk
from tests.chaos import undisturbed
from tests.chaos.checks.invariants import NEXT, NOT_HEARD_OF, check
from tests.chaos.checks.witness import Witness
from tests.chaos.checks.world import (
    LOSS,
    OTHER,
    UNDISTURBED,
    World,
)
from worker.processes.process import MARK  # type: ignore[attr-defined]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.remains.database.dispose()


def kinds(world: World) -> set[str]:
    return {violation.kind for violation in check(world.remains)}


def of(world: World) -> Any:
    return Job.id == world.done


def last_event(world: World, **values: Any) -> Any:
    return (
        update(Event).where(Event.job_id == world.done, Event.type == "succeeded").values(**values)
    )


def repack(world: World, points: list[tuple[int, float]]) -> None:
    """Put other points in place of those that are there."""
    world.execute(delete(MetricChunk).where(MetricChunk.name == "loss"))
    if not points:
        return
    steps = np.array([step for step, _ in points], dtype="<i8")
    values = np.array([value for _, value in points], dtype="<f8")
    with world.remains.database.writing() as session:
        session.add(
            MetricChunk(
                job_id=world.done,
                name="loss",
                attempt=2,
                first_step=int(steps[0]),
                last_step=int(steps[-1]),
                count=len(points),
                points=steps.tobytes() + values.tobytes(),
            )
        )


def lose_a_job(world: World) -> None:
    with world.remains.database.writing() as session:
        hashes = references.hashes_of_job(session, world.done)
        session.execute(delete(JobLabel))
        lifecycle.delete(session, world.done)
        world.store.remove_unused(session, hashes)


def train_together(world: World) -> None:
    witness = Witness(world.remains.evidence, world.done, 2)
    with witness.alone():
        code = (
            "import sys, time; from pathlib import Path\n"
            "from tests.chaos.checks.witness import Witness, testimonies\n"
            f"place = Path({str(world.remains.evidence)!r})\n"
            f"with Witness(place, {world.done!r}, 3).alone():\n"
            "    while not any(line.event == 'together' for line in testimonies(place)):\n"
            "        time.sleep(0.01)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_two_that_train_at_once_are_allowed_where_one_of_them_was_cut_off(world: World) -> None:
    train_together(world)
    assert "trained twice at once" in kinds(world)
    world.memory.cut_off.add(world.done)
    assert "trained twice at once" not in kinds(world)


def start_again(world: World) -> None:
    with Witness(world.remains.evidence, world.done, 2).alone():
        pass


def insert_event(world: World, kind: str) -> None:
    """Put an event before the last one."""
    world.execute(last_event(world, sequence=99))
    with world.remains.database.writing() as session:
        job = session.get_one(Job, world.done)
        event = {"job_id": job.id, "attempt": 2, "at": 0.0, "data": {}}
        session.add(Event(**event, sequence=job.events_count, type=kind))
        job.events_count += 1
        session.flush()
        session.execute(last_event(world, sequence=job.events_count))


def fail_for_its_data(world: World, message: str = "the data set digits is damaged") -> None:
    error = {"code": "data", "message": message, "hint": "upload it again"}
    world.execute(update(Job).where(Job.id == world.failed).values(error=error))


SPOILT: dict[str, tuple[Callable[[World], object], str]] = {
    "a job is gone": (lose_a_job, "accepted job lost"),
    "a job has another key": (
        lambda w: w.execute(update(Job).where(of(w)).values(idempotency_key="other")),
        "job of another key",
    ),
    "a job that nobody submitted": (
        lambda w: w.memory.accepted.pop("key-1"),
        "job that nobody submitted",
    ),
    "a deleted job came back": (lambda w: w.memory.deleted.add(w.done), "deleted job is there"),
    "a job still runs": (
        lambda w: w.execute(update(Job).where(of(w)).values(status=Status.running)),
        "not ended",
    ),
    "status without an event": (
        lambda w: w.execute(update(Job).where(of(w)).values(status=Status.cancelled)),
        "timeline and status differ",
    ),
    "cancelled though nobody asked": (lambda w: w.memory.cancels.clear(), "cancelled by nobody"),
    "failed without a full disk": (
        lambda w: w.execute(
            update(Job).where(Job.id == w.failed).values(error={"message": "the worker: bug"})
        ),
        "failed",
    ),
    "failed for data that nobody damaged": (fail_for_its_data, "failed"),
    "failed, and left a file": (
        lambda w: w.execute(update(Artifact).values(job_id=w.failed)),
        "failed with a result",
    ),
    "succeeded by an attempt that hung": (
        lambda w: Witness(w.remains.evidence, w.done, 2).say("hangs", step=2),
        "succeeded while it hung",
    ),
    "converted after it was found hanging": (
        lambda w: insert_event(w, "stalled"),
        "went on though it hung",
    ),
    "a lease after the end": (
        lambda w: w.execute(update(Job).where(of(w)).values(lease_until=1.0)),
        "lease of an ended job",
    ),
    "an event is missing": (
        lambda w: w.execute(delete(Event).where(Event.job_id == w.done, Event.sequence == 3)),
        "timeline with gaps",
    ),
    "a step over a status": (
        lambda w: w.execute(
            update(Event)
            .where(Event.job_id == w.done, Event.type == "converting")
            .values(type="paused")
        ),
        "forbidden transition",
    ),
    "a job taken from a worker that lives": (
        lambda w: w.execute(
            update(Event)
            .where(Event.job_id == w.done, Event.type == "recovering")
            .values(data={"reason": f"{NOT_HEARD_OF} for longer than its lease"})
        ),
        "taken from a living worker",
    ),
    "an end that was left": (lambda w: insert_event(w, "failed"), "ended twice"),
    "an attempt twice": (
        lambda w: w.execute(last_event(w, attempt=1)),
        "attempts out of order",
    ),
    "an attempt that no event tells of": (
        lambda w: w.execute(update(Job).where(of(w)).values(attempt=7)),
        "attempts out of order",
    ),
    "a point is missing": (lambda w: repack(w, [LOSS[0], LOSS[2]]), "points lost"),
    "the last point is missing": (lambda w: repack(w, LOSS[:2]), "points lost"),
    "a point twice": (lambda w: repack(w, [LOSS[0], LOSS[0], *LOSS[1:]]), "points doubled"),
    "a point too many": (lambda w: repack(w, [*LOSS, (4, 0.1)]), "points lost"),
    "a point of another value": (
        lambda w: repack(w, [LOSS[0], (2, np.nextafter(0.25, 1)), LOSS[2]]),
        "points differ",
    ),
    "other weights": (lambda w: w.replace_artifact("lif.safetensors", OTHER), "weights differ"),
    "weights that cannot be read": (
        lambda w: w.replace_artifact("lif.safetensors", b"no tensors"),
        "weights differ",
    ),
    "an artifact less": (
        lambda w: w.execute(delete(Artifact).where(Artifact.name == "report.json")),
        "artifact missing",
    ),
    "a file nothing refers to": (
        lambda w: w.execute(delete(Artifact).where(Artifact.name == "report.json")),
        "orphan blob",
    ),
    "a file without a row": (
        lambda w: (w.store.directory / ".incoming-1").write_bytes(b"x"),
        "orphan file",
    ),
    "a file is gone": (lambda w: w.file("report.json").unlink(), "file missing"),
    "a file was cut": (lambda w: os.truncate(w.file("report.json"), 3), "file damaged"),
    "two train at the same time": (train_together, "trained twice at once"),
    "an attempt starts twice": (start_again, "attempt started twice"),
    "a directory is left": (
        lambda w: (w.remains.machines / "odd" / "work" / "worker_1").mkdir(),
        "scratch left",
    ),
}


def test_a_perfect_run_has_no_violation(world: World) -> None:
    assert check(world.remains) == []


@pytest.mark.parametrize("how", SPOILT)
def test_what_is_spoilt_is_seen(world: World, how: str) -> None:
    spoil, kind = SPOILT[how]
    spoil(world)
    assert kind in kinds(world)


def test_a_process_that_is_left_is_seen(world: World) -> None:
    mark = f"{world.remains.machines}/odd/work/worker_1/{world.done}-1"
    with subprocess.Popen(["sleep", "60"], env={**os.environ, MARK: mark}) as process:
        try:
            assert kinds(world) == {"process left"}
        finally:
            process.kill()


def test_a_damaged_file_that_the_suite_damaged_itself_is_none(world: World) -> None:
    path = world.file("report.json")
    os.truncate(path, 3)
    world.memory.damaged.add(path.name)
    assert check(world.remains) == []


def test_a_full_disk_excuses_only_where_there_was_one(world: World) -> None:
    world.memory.disk_was_full = False
    assert kinds(world) == {"failed"}


def test_a_damaged_data_set_excuses_a_failure_that_names_it(world: World) -> None:
    world.memory.damaged_datasets.add("digits")
    fail_for_its_data(world)
    assert check(world.remains) == []
    fail_for_its_data(world, "a data set is damaged")
    assert kinds(world) == {"failed"}


def test_an_attempt_that_hung_and_was_ended_is_none(world: World) -> None:
    Witness(world.remains.evidence, world.done, 1).say("hangs", step=1)
    assert check(world.remains) == []


def test_a_retry_begins_where_it_took_over_and_not_later(world: World) -> None:
    repack(world, LOSS[1:])
    assert "points lost" in kinds(world)
    world.execute(update(Job).where(of(world)).values(inherited_step=1))
    assert check(world.remains) == []
    repack(world, LOSS[2:])
    assert kinds(world) == {"points lost"}


def test_a_retry_that_takes_over_after_the_last_step_has_its_last_look_alone(world: World) -> None:
    world.execute(update(Job).where(of(world)).values(inherited_step=3))
    repack(world, [])
    assert check(world.remains) == []
    world.execute(delete(MetricChunk))
    assert kinds(world) == {"points lost"}


def test_rows_of_a_job_that_is_gone_are_seen(world: World) -> None:
    assert world.remains.database.engine.url.database is not None
    with sqlite3.connect(world.remains.database.engine.url.database) as connection:
        connection.execute("DELETE FROM jobs WHERE id = ?", (world.cancelled,))
    connection.close()
    world.memory.asked_to_delete.add(world.cancelled)
    assert kinds(world) == {"row of no job"}


def test_the_state_machine_knows_every_status_and_leaves_no_end() -> None:
    assert set(NEXT) == {"", *Status}
    assert {status for status, following in NEXT.items() if not following} == {
        "succeeded",
        "failed",
        "cancelled",
    }


def test_the_undisturbed_results_survive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "undisturbed.json"
    path.write_text(json.dumps({"recipe": asdict(UNDISTURBED)}))
    assert undisturbed.read(path) == {"recipe": UNDISTURBED}
