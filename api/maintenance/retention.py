"""Retention: rows, and with them files, that are older than the settings keep.

Rows go first, in a transaction of their own; a file goes after that commit, and only when no row
refers to it then. So a process that is killed in between leaves at most a file too many, which
`garbage` finds later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Executable,
    Text,
    and_,
    cast,
    delete,
    exists,
    func,
    or_,
    select,
)
from sqlalchemy.orm import aliased

from api.settings import Settings
from api.store.blobs.base import ArtifactStore, Item
from api.store.database import Database, now
from api.store.datasets import drop_dataset
from api.store.tables.base import Blob
from api.store.tables.jobs import TERMINAL, Job, Status
from api.store.tables.results import Artifact, Checkpoint, LogChunk, MetricChunk, SpikeStatistics
from api.store.tables.uploads import Dataset

DAY = 86_400.0


class Retention:
    """Finds what is older than the settings keep. A setting of 0 keeps for ever."""

    def __init__(self, database: Database, store: ArtifactStore, settings: Settings) -> None:
        self._database = database
        self._store = store
        self._settings = settings

    def find(self) -> Iterator[Item]:
        """Everything that may go. Raises what the database raises, as does `Item.remove`."""
        settings = self._settings
        if days := settings.retain_metrics_days:
            yield from self._chunks(
                "metrics", MetricChunk, func.length(MetricChunk.points), _ended(days)
            )
            size = func.length(cast(SpikeStatistics.data, Text))
            yield from self._chunks("spike_statistics", SpikeStatistics, size, _ended(days))
        if days := settings.retain_logs_days:
            yield from self._chunks("log", LogChunk, func.length(LogChunk.text), _ended(days))
        if days := settings.retain_checkpoints_days:
            newer = aliased(Checkpoint)
            superseded = exists().where(
                newer.job_id == Checkpoint.job_id, newer.step > Checkpoint.step
            )
            rule = and_(_ended(days), Job.status == Status.succeeded, superseded)
            yield from self._checkpoints(rule)
        if days := settings.retain_artifacts_days:
            yield from self._artifacts(_ended(days))
            yield from self._checkpoints(_ended(days))
        if days := settings.retain_invalid_datasets_days:
            yield from self._datasets(
                and_(Dataset.status == "invalid", Dataset.created_at < now() - days * DAY)
            )
        if days := settings.retain_unanswered_datasets_days:
            since = func.coalesce(Dataset.checked_at, Dataset.created_at)
            yield from self._datasets(
                and_(Dataset.status == "needs_choice", since < now() - days * DAY)
            )
        if days := settings.retain_unused_datasets_days:
            yield from self._datasets(_unused(days))

    def _chunks(
        self, kind: str, table: type[Any], size: ColumnElement[int], rule: ColumnElement[bool]
    ) -> Iterator[Item]:
        query = (
            select(table.job_id, func.sum(size))
            .join(Job, Job.id == table.job_id)
            .where(rule)
            .group_by(table.job_id)
            .order_by(table.job_id)
        )
        for job_id, bytes_ in self._rows(query):

            def remove(job_id: str = job_id) -> bool:
                # A job that has ended stays so: nothing is added to these rows any more.
                return self._delete(delete(table).where(table.job_id == job_id))

            yield Item(kind=kind, name=job_id, bytes=int(bytes_), remove=remove)

    def _checkpoints(self, rule: ColumnElement[bool]) -> Iterator[Item]:
        query = (
            select(Checkpoint.job_id, Checkpoint.step, Checkpoint.sha256, Blob.bytes)
            .join(Job, Job.id == Checkpoint.job_id)
            .join(Blob, Blob.sha256 == Checkpoint.sha256)
            .where(rule)
            .order_by(Checkpoint.job_id, Checkpoint.step)
        )
        for job_id, step, sha256, bytes_ in self._rows(query):

            def remove(job_id: str = job_id, step: int = step, sha256: str = sha256) -> bool:
                one = and_(
                    Checkpoint.job_id == job_id,
                    Checkpoint.step == step,
                    Checkpoint.sha256 == sha256,
                )
                return self._delete(delete(Checkpoint).where(one), sha256)

            name = f"{job_id} step {step}"
            yield Item(kind="checkpoint", name=name, bytes=bytes_, remove=remove)

    def _artifacts(self, rule: ColumnElement[bool]) -> Iterator[Item]:
        query = (
            select(Artifact.id, Artifact.job_id, Artifact.name, Artifact.sha256, Blob.bytes)
            .join(Job, Job.id == Artifact.job_id)
            .join(Blob, Blob.sha256 == Artifact.sha256)
            .where(rule)
            .order_by(Artifact.id)
        )
        for id_, job_id, name, sha256, bytes_ in self._rows(query):

            def remove(id_: str = id_, sha256: str = sha256) -> bool:
                return self._delete(delete(Artifact).where(Artifact.id == id_), sha256)

            yield Item(kind="artifact", name=f"{job_id} {name}", bytes=bytes_, remove=remove)

    def _datasets(self, rule: ColumnElement[bool]) -> Iterator[Item]:
        query = (
            select(Dataset.id, Dataset.name, func.coalesce(Blob.bytes, 0))
            .outerjoin(Blob, Blob.sha256 == Dataset.sha256)
            .where(rule)
            .order_by(Dataset.id)
        )
        for id_, name, bytes_ in self._rows(query):

            def remove(id_: str = id_) -> bool:
                with self._database.writing() as session:
                    # The lock lets no job begin to refer to it; the rule is looked at again.
                    locked = select(Dataset.id).where(Dataset.id == id_).with_for_update()
                    if session.scalar(locked) is None:
                        return False
                    if session.scalar(select(Dataset.id).where(Dataset.id == id_, rule)) is None:
                        return False
                    hashes = drop_dataset(session, id_)
                self._store.remove_unused_of(self._database, hashes)
                return True

            yield Item(kind="data set", name=f"{id_} {name}", bytes=bytes_, remove=remove)

    def _rows(self, query: Executable) -> Sequence[Any]:
        with self._database.reading() as session:
            return session.execute(query).all()

    def _delete(self, statement: Any, *hashes: str) -> bool:
        with self._database.writing() as session:
            touched = session.connection().execute(statement).rowcount
        self._store.remove_unused_of(self._database, hashes)
        return touched > 0


def _ended(days: float) -> ColumnElement[bool]:
    return and_(Job.status.in_(TERMINAL), Job.finished_at < now() - days * DAY)


def _unused(days: float) -> ColumnElement[bool]:
    """Ready, and neither uploaded nor trained on for so long."""
    needed = exists().where(
        Job.dataset_id == Dataset.id,
        or_(Job.status.not_in(TERMINAL), Job.finished_at >= now() - days * DAY),
    )
    return and_(Dataset.status == "ready", Dataset.checked_at < now() - days * DAY, ~needed)
