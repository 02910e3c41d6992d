"""Whom the thing belongs to that an address names, by its kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from api.accounts.access import Kind
from api.errors import GoneError, NotFoundError
from api.store.accounts import projects
from api.store.accounts.tables import ApiKey
from api.store.tables.jobs import Job, SavedSearch, Sweep
from api.store.tables.results import Artifact
from api.store.tables.uploads import Dataset, UploadedNetwork
from api.store.viewer import Viewer
from api.store.webhooks.tables import Webhook
from api.uploads.files import Uploads
from api.web.dependencies import Service
from saf.data import CATALOGUE


@dataclass(frozen=True, kw_only=True)
class Owned:
    """What is known of a thing before anybody may have it."""

    missing: str
    """What is said where it is not there, or is not to be seen: the same."""
    closed: str = "this belongs to somebody else; its owner or an admin of its project may do it"
    is_there: bool = True
    owner_id: str | None = None
    project_id: str | None = None
    is_everybodys: bool = False

    def is_seen_by(self, viewer: Viewer) -> bool:
        """Whether it is there for that viewer."""
        return self.is_everybodys or viewer.sees(self.owner_id, self.project_id)

    def may_be_changed_by(self, viewer: Viewer) -> bool:
        """Whether that viewer may change it; what is everybody's says itself that it is fixed."""
        return self.is_everybodys or viewer.may_change(self.owner_id, self.project_id)


def owned(service: Service, kind: Kind, name: str, viewer: Viewer) -> Owned:
    """Whom a thing belongs to; `is_there` is False where there is none."""
    if kind == "upload":
        return _upload(service, name, viewer)
    with service.database.reading() as session:
        return _FINDERS[kind](session, name)


def _job(session: Session, name: str) -> Owned:
    return _row(session, Job, Job.id == name, f"there is no job {name}")


def _artifact(session: Session, name: str) -> Owned:
    held = select(Artifact.job_id).where(Artifact.id == name).scalar_subquery()
    return _row(session, Job, Job.id == held, f"there is no artifact {name}")


def _sweep(session: Session, name: str) -> Owned:
    return _row(session, Sweep, Sweep.id == name, f"there is no sweep {name}")


def _dataset(session: Session, name: str) -> Owned:
    missing = f"there is no data set {name}"
    if name in CATALOGUE:
        return Owned(missing=missing, is_everybodys=True)
    return _row(session, Dataset, or_(Dataset.id == name, Dataset.name == name), missing)


def _network(session: Session, name: str) -> Owned:
    own = UploadedNetwork.id == name
    return _row(session, UploadedNetwork, own, f"there is no uploaded network {name[:64]}")


def _search(session: Session, name: str) -> Owned:
    return _row(session, SavedSearch, SavedSearch.id == name, f"there is no search {name[:60]}")


def _webhook(session: Session, name: str) -> Owned:
    return _row(session, Webhook, Webhook.id == name, f"there is no webhook {name[:60]}")


def _key(session: Session, name: str) -> Owned:
    owner = session.scalar(select(ApiKey.user_id).where(ApiKey.id == name))
    missing = f"there is no key {name[:64]}"
    return Owned(missing=missing, is_there=owner is not None, owner_id=owner)


def _project(session: Session, name: str) -> Owned:
    found = projects.lookup(session, name)
    return Owned(
        missing=f"there is no project {name[:64]}",
        closed="this is for admins of the project",
        is_there=found is not None,
        project_id=found.id if found else None,
    )


def _row(session: Session, table: Any, condition: Any, missing: str) -> Owned:
    found = session.execute(
        select(table.owner_id, table.project_id).where(condition).limit(1)
    ).one_or_none()
    if found is None:
        return Owned(missing=missing, is_there=False)
    return Owned(missing=missing, owner_id=found.owner_id, project_id=found.project_id)


def _upload(service: Service, name: str, viewer: Viewer) -> Owned:
    """Files on the disk, which name their user."""
    try:
        found = service.part(Uploads).find(name)
    except NotFoundError as error:
        return Owned(missing=error.detail, is_there=False)
    except GoneError:
        return Owned(missing="", is_everybodys=True)  # the endpoint says so
    missing = f"there is no upload {name} on this machine of the service; begin it again"
    is_own = viewer.is_admin or found.user == viewer.name
    return Owned(missing=missing, is_there=is_own, owner_id=viewer.user_id if is_own else None)


_FINDERS: dict[Kind, Callable[[Session, str], Owned]] = {
    "job": _job,
    "artifact": _artifact,
    "sweep": _sweep,
    "dataset": _dataset,
    "network": _network,
    "key": _key,
    "webhook": _webhook,
    "search": _search,
    "project": _project,
}
