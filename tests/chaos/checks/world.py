"""What the chaos suite remembers of a run in which all went well, to be spoilt by tests."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from sqlalchemy import select, update

from api.store.blobs.directory import DirectoryStore
from api.store.database import Database
from api.store.ids import new_id
from api.store.jobs import lifecycle
from api.store.migrate import migrate
from api.store.runs import artifacts, metrics
from api.store.tables.jobs import Job
from api.store.tables.results import Artifact
from saf.config import JobSpecification
from tests.chaos.checks.invariants import ARTIFACTS, Remains
from tests.chaos.checks.witness import Witness
from tests.chaos.memory import Memory
from tests.chaos.undisturbed import Undisturbed, tensors_sha256

NETWORK = safetensors.numpy.save({"weight": np.arange(6, dtype=np.float32)})
OTHER = safetensors.numpy.save({"weight": np.arange(6, dtype=np.float32) + 1})
LOSS = [(1, 0.5), (2, 0.25), (3, 0.125)]
LAST = (3, 0.2)  # on the test samples
UNDISTURBED = Undisturbed(
    points={"loss": LOSS, "test_loss": [LAST]},
    tensors=tensors_sha256(NETWORK),
    file=hashlib.sha256(NETWORK).hexdigest(),
)


class World:
    """What a run without any violation leaves: a job that was taken up again after a loss, one
    that was cancelled, one that failed because the disk was full."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = DirectoryStore(str(directory / "artifacts"))
        self.memory = Memory(disk_was_full=True)
        self.remains = Remains(
            database=Database(f"sqlite:///{directory / 'saf.sqlite3'}"),
            artifacts=self.store.directory,
            machines=directory / "machines",
            evidence=directory / "evidence",
            memory=self.memory,
            undisturbed={"recipe": UNDISTURBED},
        )
        (directory / "evidence").mkdir()
        (directory / "machines" / "odd" / "work").mkdir(parents=True)
        migrate(self.remains.database)
        self.done = self._submit("key-1")
        self._succeed_after_a_loss(self.done)
        self.cancelled = self._submit("key-2")
        self.memory.cancels.add(self.cancelled)
        with self.remains.database.writing() as session:
            lifecycle.cancel(session, self.cancelled)
        self.failed = self._submit("key-3")
        with self.remains.database.writing() as session:
            claim = lifecycle.claim(session, worker_id="w", device="cpu", lease_seconds=60)
            assert claim is not None
            message = "OSError: [Errno 28] No space left on device"
            lifecycle.fail(session, claim, code="internal", message=message, hint="")

    def execute(self, statement: Any) -> None:
        """Spoil rows."""
        with self.remains.database.writing() as session:
            session.execute(statement)

    def file(self, name: str) -> Path:
        """An artifact of the job that is done."""
        with self.remains.database.reading() as session:
            query = select(Artifact.sha256).where(Artifact.name == name)
            return self.store.path(session.scalars(query).one())

    def replace_artifact(self, name: str, content: bytes) -> None:
        """Give the job that is done another file, registered as it should be."""
        source = self.directory / "source"
        source.write_bytes(content)
        incoming = self.store.receive(source)
        with self.remains.database.writing() as session:
            old = session.scalars(select(Artifact.sha256).where(Artifact.name == name)).all()
            sha256 = self.store.keep(session, incoming)
            artifacts.register(session, job_id=self.done, name=name, kind="file", sha256=sha256)
            self.store.remove_unused(session, old)

    def _submit(self, key: str) -> str:
        wish = JobSpecification(name="recipe")
        job = Job(
            id=new_id("job"),
            name="recipe",
            specification=wish.model_dump(mode="json"),
            method="saf-f",
            network="convnet",
            dataset="digits",
            priority=5,
            parameters=1,
            memory_bytes=1,
            latest={},
            idempotency_key=key,
        )
        with self.remains.database.writing() as session:
            lifecycle.submit(session, job)
        self.memory.accepted[key] = job.id
        return job.id

    def _succeed_after_a_loss(self, job_id: str) -> None:
        database = self.remains.database
        for attempt in (1, 2):
            with database.writing() as session:
                session.execute(update(Job).values(retry_at=None))
                claim = lifecycle.claim(session, worker_id="w", device="cpu", lease_seconds=60)
                assert claim is not None
                with Witness(self.remains.evidence, job_id, attempt).alone():
                    lifecycle.running(session, claim, step=attempt - 1, steps_total=3)
                metrics.append(
                    session, job_id, attempt, {"loss": LOSS[:1] if attempt < 2 else LOSS}
                )
                if attempt < 2:
                    lifecycle.lost(session, claim, reason="killed", max_losses=5, retry_seconds=0.1)
        for name in sorted(ARTIFACTS):
            self.replace_artifact(name, NETWORK if name == "lif.safetensors" else name.encode())
        with database.writing() as session:
            assert claim is not None
            metrics.append(session, job_id, 2, {"test_loss": [LAST]})
            lifecycle.converting(session, claim)
            lifecycle.succeed(session, claim)
