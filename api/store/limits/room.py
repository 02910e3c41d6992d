"""Whether there is room for files of a user and a project, and words where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.orm import Session

from api.settings import Settings
from api.store.accounts import projects, users
from api.store.limits import numbers
from api.store.limits.stored import Whose, is_stored, stored_bytes
from saf.sizes import readable


@dataclass(frozen=True, kw_only=True)
class Bound:
    """How much somebody may have stored."""

    of: str
    """Name of the user or project, or an address."""
    whose: Whose
    most: int
    remedy: str
    """What raises it."""

    @property
    def files(self) -> str:
        """What counts, in words."""
        return f"the data sets, networks and files of jobs of {self.of}"


def bounds(
    session: Session,
    settings: Settings,
    *,
    owner_id: str | None,
    project_id: str | None,
    address: str | None,
) -> Iterator[Bound]:
    """Those of the user, without accounts of the address, and of the project."""
    if owner_id is not None:
        most = int(numbers.of(session, "users", owner_id).get("stored_bytes", 0))
        name = users.names(session, {owner_id}).get(owner_id, owner_id)
        by = f"an admin of the service raises it: saf users limit {name} --stored-bytes"
        if most:
            yield Bound(of=name, whose=Whose(user=owner_id), most=most, remedy=by)
    elif (most := settings.datasets_max_bytes_per_user) and address:
        by = "SAF_DATASETS_MAX_BYTES_PER_USER"
        yield Bound(of=address, whose=Whose(address=address), most=most, remedy=by)
    if project_id is not None:
        most = int(numbers.of(session, "projects", project_id).get("stored_bytes", 0))
        name = projects.names(session, {project_id}).get(project_id, project_id)
        by = f"an admin of the service raises it: saf projects limit {name} --stored-bytes"
        if most:
            yield Bound(of=name, whose=Whose(project=project_id), most=most, remedy=by)


def reached(session: Session, found: Iterator[Bound]) -> tuple[Bound, int, str] | None:
    """The first that leaves no room at all, with what is stored, and words."""
    for bound in found:
        there = stored_bytes(session, bound.whose)
        if there >= bound.most:
            return (
                bound,
                there,
                f"{bound.files} take {readable(there)}, and {readable(bound.most)} are the most "
                f"({bound.remedy}); delete some first",
            )
    return None


def lacking(session: Session, found: Iterator[Bound], sha256: str, bytes_: int) -> str:
    """Why there is no room for a file of that size; empty where there is. What is stored already
    takes no room."""
    for bound in found:
        there = stored_bytes(session, bound.whose)
        if there + bytes_ > bound.most and not is_stored(session, sha256, bound.whose):
            return (
                f"{bound.files} take {readable(there)} unpacked, this one would take "
                f"{readable(bytes_)}, and {readable(bound.most)} are the most ({bound.remedy})"
            )
    return ""
