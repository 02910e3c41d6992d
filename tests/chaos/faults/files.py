"""Faults of files at rest: bytes flipped, files cut, emptied or made longer.

Each function begins one and says whether there was something to break.
"""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from api.maintenance.scrub import scrub
from api.store.blobs.open import open_store
from api.store.tables.jobs import Job, Status
from api.store.tables.results import Artifact, Checkpoint
from api.store.tables.uploads import Dataset
from tests.chaos.faults.damage import Damage, InDirectory
from tests.chaos.faults.means import Means, send
from tests.chaos.recipes import FRAGILE, FRAGILE_RECIPE, recipe_of, write_dataset


def damage_checkpoint(means: Means) -> bool:
    """Damage the newest checkpoint of a job that trains, and kill its training."""
    if (training := means.a_training()) is None:
        return False
    sha256 = _one(
        means,
        select(Checkpoint.sha256)
        .where(Checkpoint.job_id == training.job_id)
        .order_by(Checkpoint.step.desc())
        .limit(1),
    )
    if sha256 is None:
        return False
    with means.memory.lock:
        means.memory.damaged.add(sha256)
    try:
        Damage.do(means.cluster.place(sha256), means.choose)
    except FileNotFoundError:  # a newer one has come
        return False
    means.watch("damage a checkpoint", means.jobs_named(training.job_id))
    return send(training.pid, signal.SIGKILL)


def damage_artifact(means: Means) -> bool:
    """Damage a file of a job that has succeeded, ask for it, put it back, and ask again."""
    try:
        with means.cluster.database.reading() as session:
            query = select(Artifact.id, Artifact.sha256).join(Job, Job.id == Artifact.job_id)
            found = session.execute(query.where(Job.status == Status.succeeded)).all()
    except SQLAlchemyError:
        return False
    if not found:
        return False
    artifact_id, sha256 = means.choose.choice(sorted(map(tuple, found)))
    resource = f"file {sha256}"
    if not means.is_free(resource):
        return False
    try:
        damage = Damage.do(means.cluster.place(sha256), means.choose)
    except FileNotFoundError:
        return False
    _in_background(means, _ask_for, means, artifact_id, sha256, whole=False)

    def heal() -> None:
        damage.undo()
        _in_background(means, _ask_for, means, artifact_id, sha256, whole=True)

    watch = means.watch("damage an artifact", {})
    return means.last(watch, resource, means.choose.uniform(1.0, 5.0), heal)


def damage_dataset(means: Means) -> bool:
    """Damage the file of a data set on which jobs train; then put it back, or upload it again."""
    sha256 = _one(
        means, select(Dataset.sha256).where(Dataset.name == FRAGILE, Dataset.sha256.is_not(None))
    )
    resource = f"file {sha256}"
    if sha256 is None or not means.is_free(resource):
        return False
    active = set(means.observer.active())
    try:
        with means.cluster.database.reading() as session:
            named = set(session.scalars(select(Job.id).where(Job.name == FRAGILE_RECIPE)))
    except SQLAlchemyError:
        return False
    if not named & active:
        _submit_fragile(means, named)
        return False
    with means.memory.lock:
        means.memory.damaged_datasets.add(FRAGILE)
    try:
        damage = Damage.do(means.cluster.place(sha256), means.choose)
    except FileNotFoundError:
        return False
    watch = means.watch("damage a data set", means.jobs_named(*(named & active)))

    def heal() -> None:
        if means.choose.random() < 0.5:
            damage.undo()
            _in_background(means, _scrub, means)
        else:
            _in_background(means, _upload_again, means, damage)

    return means.last(watch, resource, means.choose.uniform(0.5, 5.0), heal)


def damage_copy(means: Means) -> bool:
    """Damage a copy, on some machine, of a file that lies in a bucket: it is fetched again."""
    copies = means.cluster.copies()
    if not copies:
        return False
    copy = means.choose.choice(copies)
    try:
        Damage.do(InDirectory(copy), means.choose)
    except FileNotFoundError:
        return False
    jobs = {} if copy.parents[1] == means.cluster.directory else means.observer.active()
    means.watch("damage a copy", jobs)
    return True


def _submit_fragile(means: Means, named: set[str]) -> None:
    """A job on the data set that is to be damaged, unless there is one that will train."""
    if named & set(means.observer.in_status("queued", "recovering", "paused")):
        return
    if means.fragile_key is not None:
        job_id = means.memory.accepted.get(means.fragile_key)
        if job_id is None or job_id not in means.observer.looks:
            return
    while True:
        means.keys += 1
        means.fragile_key = f"chaos-{means.seed}-fragile-{means.keys}"
        if recipe_of(means.fragile_key) == FRAGILE_RECIPE:
            break
    _in_background(means, means.clients.submit, means.fragile_key)


def _upload_again(means: Means, damage: Damage) -> None:
    """The same data under another name take the place of the damaged file."""
    means.keys += 1
    key = f"chaos-{means.seed}-heal-{means.keys}"
    path = means.cluster.directory / f"{key}.npz"
    write_dataset(path, name=FRAGILE)
    if not means.clients.upload(path, name=f"{FRAGILE} {means.keys}", key=key):
        damage.undo()
        _scrub(means)
        return
    if not damage.is_whole():
        means.memory.violated("not healed by its upload", FRAGILE, damage.how)
        damage.undo()
        _scrub(means)


def _scrub(means: Means) -> None:
    """What `saf scrub` does: what was put back is whole again. Until then nobody takes it.

    Once more later: a process that found it damaged may have been stopped before it said so.
    """
    settings = means.cluster.settings()
    store = open_store(settings)
    for wait in (0.0, 2.0 * settings.lease_seconds):
        time.sleep(wait)
        while True:
            try:
                scrub(means.cluster.database, store, settings.data_dir / "cache")
                break
            except (SQLAlchemyError, OSError):
                time.sleep(0.5)


def _ask_for(means: Means, artifact_id: str, sha256: str, *, whole: bool) -> None:
    """A damaged file is refused and a whole one is sent; neither is sent with other bytes."""
    answer = means.clients.ask("GET", f"/v1/artifacts/{artifact_id}", also=(410,))
    if answer is None:
        return
    if answer.status_code == 200 and hashlib.sha256(answer.content).hexdigest() != sha256:
        detail = f"{len(answer.content)} bytes of another content"
        means.memory.violated("damaged file served", artifact_id, detail)
    if answer.status_code == 410 and whole and means.is_free(f"file {sha256}"):
        means.memory.violated("whole file refused", artifact_id, answer.text[:300])


def _in_background(means: Means, do: Any, *given: Any, **named: Any) -> None:
    thread = threading.Thread(target=do, args=given, kwargs=named, daemon=True)
    thread.start()
    means.clients.also_wait_for(thread)


def _one(means: Means, query: Any) -> Any:
    try:
        with means.cluster.database.reading() as session:
            return session.scalars(query).first()
    except SQLAlchemyError:
        return None
