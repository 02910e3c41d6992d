"""How much the data sets of a user, and of all, may take: by what they unpack to, not by what their
uploads weigh; and by what those weigh that are not unpacked yet. Whoever counts does so alone
(`api.store.datasets.count_alone`)."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.orm import Session

from api.settings import Settings
from api.store import viewer
from api.store.accounts import projects, users
from api.store.datasets import Of, is_kept, kept_bytes, waiting_bytes
from api.store.limits import numbers
from api.store.tables.uploads import Dataset
from saf.sizes import readable


def lacking_for_upload(session: Session, settings: Settings, row: Dataset) -> str:
    """Why one more upload is not taken; empty where it is. Nobody knows what it unpacks to, so
    there has to be some room beside what is kept, and what waits for a check or an answer."""
    for whose, of, most, remedy in _bounds(session, settings, row):
        taken, waiting = kept_bytes(session, of), waiting_bytes(session, of)
        if taken + waiting >= most:
            wait = "wait for a check or for the answer how they are to be read"
            also = f", uploads of {readable(waiting)} {wait}" if waiting else ""
            return (
                f"{whose} take {readable(taken)} unpacked{also}, and {readable(most)} are the most "
                f"({remedy})"
            )
    return ""


def lacking(session: Session, settings: Settings, row: Dataset, sha256: str, bytes_: int) -> str:
    """Why there is no room for the content of a data set, of that size; empty where there is. What
    is kept already takes no room."""
    for whose, of, most, remedy in _bounds(session, settings, row):
        taken = kept_bytes(session, of)
        if taken + bytes_ > most and not is_kept(session, sha256, of):
            return (
                f"{whose} take {readable(taken)} unpacked, this one would take {readable(bytes_)}, "
                f"and {readable(most)} are the most ({remedy})"
            )
    return ""


def _bounds(
    session: Session, settings: Settings, row: Dataset
) -> Iterator[tuple[str, Of, int, str]]:
    """Whose data sets, which those are, how many bytes, and what to change, for the user and the
    project of a data set, and all of them."""
    user = row.uploaded_by
    owner_id = row.owner_id or viewer.owner()
    if owner_id is not None:
        most = int(numbers.of(session, "users", owner_id).get("stored_bytes", 0))
        name = users.names(session, {owner_id}).get(owner_id, owner_id)
        by = f"an admin of the service raises it: saf users limit {name} --stored-bytes"
        if most:
            yield f"the data sets of {name}", Dataset.owner_id == owner_id, most, by
    elif (most := settings.datasets_max_bytes_per_user) and user is not None:
        own = Dataset.uploaded_by == user
        yield f"the data sets of {user}", own, most, "SAF_DATASETS_MAX_BYTES_PER_USER"
    project_id = row.project_id or viewer.project()
    if project_id is not None:
        most = int(numbers.of(session, "projects", project_id).get("stored_bytes", 0))
        name = projects.names(session, {project_id}).get(project_id, project_id)
        by = f"an admin of the service raises it: saf projects limit {name} --stored-bytes"
        if most:
            yield f"the data sets of {name}", Dataset.project_id == project_id, most, by
    if most := settings.datasets_max_bytes:
        yield "all data sets", None, most, "SAF_DATASETS_MAX_BYTES"
