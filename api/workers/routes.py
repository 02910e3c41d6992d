"""Workers: who is alive, with which devices, and what they run."""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

from fastapi import APIRouter
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from api.settings import Settings
from api.store.database import clock, now
from api.store.soundness import readable
from api.store.tables.jobs import ACTIVE, Job, Status
from api.store.tables.workers import Worker
from api.store.workers import HEARTBEATS, Drain, is_alive
from api.web.asgi import prefix
from api.web.dependencies import ServiceDependency
from api.web.problems.documents import responses
from api.web.schemas import Document, Listing, Timestamp, iso, maybe_iso

router = APIRouter(prefix="/v1", tags=["system"])
REMEMBERED_SECONDS = 24 * 3600.0
MOST_WORKERS = 1000  # one that ends at its start and is started again leaves a row each time


class WorkerJob(Document):
    """A job that a worker holds."""

    id: str
    name: str
    status: Status
    device: str | None
    url: str


class WorkerDocument(Document):
    """A worker process."""

    id: str
    object: Literal["worker"] = "worker"
    alive: bool
    host: str
    pid: int
    version: str
    devices: list[str]
    """One entry per slot."""
    slots: int
    busy: int
    """Slots that train."""
    jobs: list[WorkerJob]
    started_at: Timestamp
    seen_at: Timestamp
    stopped_at: Timestamp | None
    """When it ended as it should; null of one that lives or was killed."""
    draining: Drain | None
    """Takes no more jobs and ends: `hand_back`, once its trainings have written a checkpoint and
    are back in the queue, or `finish`, once they have ended; null: nobody asked it to."""


def find_workers(session: Session, settings: Settings) -> list[WorkerDocument]:
    """The workers of the last day, the newest thousand at most, those that live first."""
    recent = Worker.seen_at > now() - REMEMBERED_SECONDS
    rows = session.scalars(
        select(Worker)
        .where(or_(recent, is_alive(settings)))
        .order_by(Worker.seen_at.desc())
        .limit(MOST_WORKERS)
    ).all()
    held = defaultdict(list)
    running = select(Job.worker_id, Job.id, Job.name, Job.status, Job.device).where(
        Job.status.in_(ACTIVE), Job.worker_id.in_([row.id for row in rows])
    )
    for worker_id, job_id, name, status, device in session.execute(running):
        job = WorkerJob(
            id=str(job_id),
            name=str(name),
            status=Status(status),
            device=device and str(device),
            url=prefix.at(f"/v1/jobs/{job_id}"),
        )
        held[worker_id].append(job)
    oldest = clock(session) - HEARTBEATS * settings.heartbeat_seconds
    documents = [
        WorkerDocument(
            id=row.id,
            alive=row.stopped_at is None and row.seen_at > oldest,
            host=row.host,
            pid=row.pid,
            version=row.version,
            devices=[str(device) for device in row.devices],
            slots=row.slots,
            busy=row.busy,
            jobs=held[row.id],
            started_at=iso(row.started_at),
            seen_at=iso(row.seen_at),
            stopped_at=maybe_iso(row.stopped_at),
            draining=Drain(row.draining) if row.draining else None,
        )
        for row, _ in map(readable, rows)
    ]
    return sorted(documents, key=lambda worker: not worker.alive)


@router.get("/workers", summary="Workers and what they run", responses=responses(503))
def list_workers(service: ServiceDependency) -> Listing[WorkerDocument]:
    """Those that live first, then those that were seen in the last day."""
    with service.database.reading() as session:
        documents = find_workers(session, service.settings)
    return Listing(
        data=documents,
        first_id=documents[0].id if documents else None,
        last_id=documents[-1].id if documents else None,
    )
