"""The promise, checked: reads a database, files and testimonies, and says what does not hold.

Everything here looks at what was left behind, and trusts nothing that the service says of itself:
the state machine below is written down a second time on purpose.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.store.blobs.directory import DirectoryStore
from api.store.database import Database
from api.store.runs import metrics
from api.store.tables.base import Base, Blob
from api.store.tables.jobs import Job
from api.store.tables.results import Artifact, Checkpoint, Event, MetricChunk
from tests.chaos.checks.witness import Testimony, testimonies
from tests.chaos.cluster import marked
from tests.chaos.memory import Memory, Violation
from tests.chaos.undisturbed import CLOCKED, MEASURED, Undisturbed, tensors_sha256

ENDED = {"succeeded", "failed", "cancelled"}
_WORKER_MAY = {"queued", "recovering", "failed"}  # hand it back, vanish, give up
NEXT: dict[str, set[str]] = {
    "": {"queued"},
    "queued": {"starting", "paused", "cancelled"},
    "starting": {"running", "pausing", "cancelling"} | _WORKER_MAY,
    "running": {"converting", "pausing", "cancelling"} | _WORKER_MAY,
    "converting": {"succeeded", "pausing", "cancelling"} | _WORKER_MAY,
    "pausing": {"paused", "cancelling", "succeeded", "failed"},
    "paused": {"queued", "cancelled"},
    "recovering": {"starting", "paused", "cancelled"},
    "cancelling": {"cancelled", "succeeded", "failed"},
    **{status: set() for status in ENDED},
}
GOES_ON = {"converting", "succeeded"}
ARTIFACTS = {"lif.safetensors", "certificate.json", "report.json", "checkpoint.safetensors"}
AT_THE_END = "test_"
NOT_HEARD_OF = "the worker has not been heard of"
DISK_FULL = "No space left on device"


@dataclass(frozen=True, kw_only=True)
class Remains:
    """Where a run left what is to be checked."""

    database: Database
    artifacts: Path
    machines: Path
    evidence: Path
    memory: Memory
    undisturbed: Mapping[str, Undisturbed]  # by recipe


def check(remains: Remains) -> list[Violation]:
    """Everything that does not hold, in the order of its kinds."""
    found: list[Violation] = []
    with remains.database.reading() as session:
        jobs = {job.id: job for job in session.scalars(select(Job))}
        found += _accepted(remains.memory, jobs)
        for job in jobs.values():
            found += _ended(job, remains.memory)
            found += _timeline(session, job)
            found += _taken(session, job, remains.memory)
            found += _points(session, job, remains.undisturbed.get(job.name))
            if job.status == "succeeded":
                found += _result(session, job, remains)
            elif job.status == "failed":
                found += _no_result(session, job)
        found += _files(session, remains)
    found += _testimonies(testimonies(remains.evidence), jobs, remains.memory)
    found += _left_over(remains.machines)
    return sorted(found)


def _accepted(memory: Memory, jobs: Mapping[str, Job]) -> Iterator[Violation]:
    """Every job that was accepted is there once, and nothing else is."""
    by_key = Counter(job.idempotency_key for job in jobs.values() if job.idempotency_key)
    for key, count in by_key.items():
        if count > 1:
            yield Violation(kind="key with two jobs", subject=key, detail=f"{count} jobs")
    for key, job_id in memory.accepted.items():
        job = jobs.get(job_id)
        if job is None:
            if job_id not in memory.asked_to_delete:
                yield Violation(kind="accepted job lost", subject=job_id, detail=f"key {key}")
        elif job.idempotency_key != key:
            detail = f"accepted for {key}, is of {job.idempotency_key}"
            yield Violation(kind="job of another key", subject=job_id, detail=detail)
    for job_id in memory.retries:
        if job_id not in jobs and job_id not in memory.asked_to_delete:
            yield Violation(kind="accepted job lost", subject=job_id, detail="a retry")
    for job_id in memory.deleted & jobs.keys():
        yield Violation(kind="deleted job is there", subject=job_id, detail=jobs[job_id].status)
    known = memory.jobs()
    for job in jobs.values():
        if job.id not in known and job.retry_of is None:  # an answer to a retry may be lost
            yield Violation(kind="job that nobody submitted", subject=job.id, detail=job.name)


def _ended(job: Job, memory: Memory) -> Iterator[Violation]:
    """In one terminal state, for a reason."""
    if job.status not in ENDED:
        yield Violation(kind="not ended", subject=job.id, detail=job.status)
    if job.status == "cancelled" and job.id not in memory.cancels:
        yield Violation(kind="cancelled by nobody", subject=job.id, detail="")
    if job.status == "failed":
        error = job.error or {}
        full = memory.disk_was_full and DISK_FULL in str(error.get("message"))
        if not full and not _failed_for_its_data(job, error, memory):
            yield Violation(kind="failed", subject=job.id, detail=str(error))
    if job.lease_until is not None and job.status in ENDED:
        yield Violation(kind="lease of an ended job", subject=job.id, detail=str(job.lease_until))


def _failed_for_its_data(job: Job, error: Mapping[str, Any], memory: Memory) -> bool:
    """By its code, with words that name a data set which was damaged, and with no file left."""
    name = job.specification["dataset"]
    return (
        name in memory.damaged_datasets
        and error.get("code") == "data"
        and f"the data set {name} is damaged" in str(error.get("message"))
        and "upload" in str(error.get("hint"))
    )


def _timeline(session: Session, job: Job) -> Iterator[Violation]:
    """Counts 1, 2, 3, …; follows the state machine; attempts one after another."""
    query = select(Event).where(Event.job_id == job.id).order_by(Event.sequence)
    events = list(session.scalars(query))
    sequence = [event.sequence for event in events]
    if sequence != list(range(1, len(events) + 1)) or job.events_count != len(events):
        detail = f"{sequence}, {job.events_count} counted"
        yield Violation(kind="timeline with gaps", subject=job.id, detail=detail)
    status, attempt, ends, stalled = "", 0, 0, False
    for event in events:
        stalled = stalled or event.type == "stalled"
        if event.type not in NEXT:
            continue  # a note
        if stalled and event.type in GOES_ON:
            detail = f"{event.type} at {event.sequence}"
            yield Violation(kind="went on though it hung", subject=job.id, detail=detail)
        stalled = False
        if event.type not in NEXT[status]:
            detail = f"{status or 'nothing'} → {event.type} at {event.sequence}"
            yield Violation(kind="forbidden transition", subject=job.id, detail=detail)
        wanted = attempt + 1 if event.type == "starting" else attempt
        if event.attempt != wanted:
            detail = f"{event.type} at {event.sequence} is of attempt {event.attempt}, not {wanted}"
            yield Violation(kind="attempts out of order", subject=job.id, detail=detail)
        status, attempt = event.type, event.attempt
        ends += status in ENDED
    if status != job.status:
        detail = f"the timeline ends with {status}, the job is {job.status}"
        yield Violation(kind="timeline and status differ", subject=job.id, detail=detail)
    if ends > 1:
        yield Violation(kind="ended twice", subject=job.id, detail=f"{ends} times")
    if attempt != job.attempt:
        detail = f"{job.attempt}, and {attempt} in the timeline"
        yield Violation(kind="attempts out of order", subject=job.id, detail=detail)


def _taken(session: Session, job: Job, memory: Memory) -> Iterator[Violation]:
    """From a worker only when it could have vanished; database or broker away is no reason."""
    if memory.workers_could_vanish:
        return
    query = select(Event).where(Event.job_id == job.id, Event.type == "recovering")
    for event in session.scalars(query):
        reason = str(event.data.get("reason"))
        if reason.startswith(NOT_HEARD_OF):
            yield Violation(kind="taken from a living worker", subject=job.id, detail=reason)


def _points(session: Session, job: Job, wanted: Undisturbed | None) -> Iterator[Violation]:
    """Each metric has each step once, with the value of the undisturbed training."""
    if wanted is None:
        yield Violation(kind="unknown recipe", subject=job.id, detail=job.name)
        return
    found: dict[str, list[tuple[int, float]]] = {}
    attempts: dict[str, int] = {}
    for name, attempt, step, value in metrics.rows(session, job.id):
        found.setdefault(name, []).append((step, value))
        if attempt < attempts.get(name, 0):
            detail = f"{name}: attempt {attempt} after {attempts[name]} at step {step}"
            yield Violation(kind="points out of order", subject=job.id, detail=detail)
        attempts[name] = attempt
    for name, points in found.items():
        steps = [step for step, _ in points]
        if any(later <= earlier for earlier, later in pairwise(steps)):
            doubled = sorted(step for step, count in Counter(steps).items() if count > 1)
            yield Violation(kind="points doubled", subject=job.id, detail=f"{name}: {doubled}")
    begin = _begin(job, found)
    for name, expected in wanted.points.items():
        if name in MEASURED:
            continue
        points = found.get(name, [])
        # The last look at the test samples comes at the end, wherever it went on from.
        at_the_end = name.startswith(AT_THE_END)
        expected = [(step, value) for step, value in expected if step > begin or at_the_end]
        if job.status != "succeeded":
            # What is there is the beginning of what would have come.
            expected = expected[: len(points)]
        if [step for step, _ in points] != [step for step, _ in expected]:
            detail = f"{name}: {_difference(points, expected)}"
            yield Violation(kind="points lost", subject=job.id, detail=detail)
        elif name not in CLOCKED:
            for (step, value), (_, right) in zip(points, expected, strict=True):
                if not (value == right or (math.isnan(value) and math.isnan(right))):
                    detail = f"{name} at {step}: {value!r}, undisturbed {right!r}"
                    yield Violation(kind="points differ", subject=job.id, detail=detail)
                    break


def _begin(job: Job, found: Mapping[str, list[tuple[int, float]]]) -> int:
    """The step after which a job's own points begin.

    A retry takes checkpoints over, and goes on from the last one, or from one before where that
    is damaged; the points up to there are the old job's.
    """
    if job.inherited_step is None:
        return 0
    firsts = [points[0][0] for name, points in found.items() if not name.startswith(AT_THE_END)]
    return min([job.inherited_step, *(first - 1 for first in firsts)])


def _difference(points: list[tuple[int, float]], expected: list[tuple[int, float]]) -> str:
    there, due = {step for step, _ in points}, {step for step, _ in expected}
    return f"missing {sorted(due - there)[:10]}, too many {sorted(there - due)[:10]}"


def _result(session: Session, job: Job, remains: Remains) -> Iterator[Violation]:
    """All artifacts, whole, and the network of the undisturbed training bit for bit."""
    artifacts = {
        row.name: row for row in session.scalars(select(Artifact).where(Artifact.job_id == job.id))
    }
    if missing := ARTIFACTS - artifacts.keys():
        yield Violation(kind="artifact missing", subject=job.id, detail=str(sorted(missing)))
    store = DirectoryStore(str(remains.artifacts))
    wanted = remains.undisturbed.get(job.name)
    network = artifacts.get("lif.safetensors")
    if network is None or wanted is None:
        return
    try:
        content = store.path(network.sha256).read_bytes()
        tensors = tensors_sha256(content)
    except (OSError, ValueError) as error:
        yield Violation(kind="artifact missing", subject=job.id, detail=str(error))
        return
    except Exception as error:  # safetensors raises one of its own for a damaged file
        yield Violation(kind="weights differ", subject=job.id, detail=str(error))
        return
    if tensors != wanted.tensors:
        detail = f"{tensors[:16]}, undisturbed {wanted.tensors[:16]}"
        yield Violation(kind="weights differ", subject=job.id, detail=detail)
    elif hashlib.sha256(content).hexdigest() != wanted.file:
        detail = "same tensors, another file"
        yield Violation(kind="network file differs", subject=job.id, detail=detail)


def _no_result(session: Session, job: Job) -> Iterator[Violation]:
    """What failed leaves nothing that could be taken for a result."""
    names = set(session.scalars(select(Artifact.name).where(Artifact.job_id == job.id)))
    if names:
        yield Violation(kind="failed with a result", subject=job.id, detail=str(sorted(names)))


def _files(session: Session, remains: Remains) -> Iterator[Violation]:
    """Rows and files of the artifact store are the same set, and each file is what it says."""
    store = DirectoryStore(str(remains.artifacts))
    blobs = {blob.sha256: blob.bytes for blob in session.scalars(select(Blob))}
    used: set[str] = set()
    for table in Base.metadata.tables.values():
        for key in table.foreign_keys:
            if key.column.table is Blob.__table__:
                used |= {sha256 for sha256 in session.scalars(select(key.parent)) if sha256}
    jobs = set(session.scalars(select(Job.id)))
    for owned in (Artifact, Checkpoint, Event, MetricChunk):
        for job_id in set(session.scalars(select(owned.job_id))) - jobs:
            detail = f"in {owned.__tablename__}"
            yield Violation(kind="row of no job", subject=job_id, detail=detail)
    for sha256 in sorted(blobs.keys() - used):
        yield Violation(kind="orphan blob", subject=sha256, detail=f"{blobs[sha256]} bytes")
    for sha256 in sorted(used - blobs.keys()):
        yield Violation(kind="blob without a row", subject=sha256, detail="")
    there = {path for path in store.directory.rglob("*") if path.is_file()}
    for sha256 in sorted(blobs):
        path = store.path(sha256)
        if path not in there:
            yield Violation(kind="file missing", subject=sha256, detail=str(path.name))
            continue
        there.remove(path)
        if sha256 in remains.memory.damaged:
            continue
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            detail = f"{path.stat().st_size} bytes, {blobs[sha256]} in the row"
            yield Violation(kind="file damaged", subject=sha256, detail=detail)
    for path in sorted(there):
        yield Violation(kind="orphan file", subject=path.name, detail=str(path.stat().st_size))


def _testimonies(
    lines: list[Testimony], jobs: Mapping[str, Job], memory: Memory
) -> Iterator[Violation]:
    """Never two processes of one job, unless the worker of the older one could not know of the
    younger; each attempt at most once and in order."""
    last: dict[str, int] = {}
    for line in lines:
        job = jobs.get(line.job_id)
        succeeded = job is not None and job.status == "succeeded" and job.attempt == line.attempt
        if line.event == "hangs" and succeeded:
            detail = f"attempt {line.attempt} hung after step {line.step}"
            yield Violation(kind="succeeded while it hung", subject=line.job_id, detail=detail)
        if line.event == "together" and line.job_id not in memory.cut_off:
            detail = f"attempt {line.attempt}, process {line.pid} beside {line.other_pid}"
            yield Violation(kind="trained twice at once", subject=line.job_id, detail=detail)
        if line.event == "start":
            if line.attempt <= last.get(line.job_id, 0):
                detail = f"{line.attempt} after {last[line.job_id]}"
                yield Violation(kind="attempt started twice", subject=line.job_id, detail=detail)
            last[line.job_id] = line.attempt
            if job is not None and line.attempt > job.attempt:
                detail = f"{line.attempt}, the job knows {job.attempt}"
                yield Violation(kind="attempt of nobody", subject=line.job_id, detail=detail)


def _left_over(machines: Path) -> Iterator[Violation]:
    """No process and no working directory of any attempt."""
    for pid, scratch in marked(machines):
        yield Violation(kind="process left", subject=str(pid), detail=scratch)
    for machine in sorted(machines.iterdir()) if machines.is_dir() else []:
        work = machine / "work"
        for path in sorted(work.iterdir()) if work.is_dir() else []:
            yield Violation(kind="scratch left", subject=path.name, detail=str(path))
