"""Whether there is room for a data set: beside all that its user and project have stored, and
beside all data sets; by what it unpacks to, not by what its upload weighs, and by what those weigh
that are not unpacked yet. Whoever counts does so alone (`api.store.datasets.count_alone`)."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.orm import Session

from api.settings import Settings
from api.store import viewer
from api.store.datasets import is_kept, kept_bytes, waiting_bytes
from api.store.limits import room
from api.store.limits.stored import stored_bytes
from api.store.tables.uploads import Dataset
from saf.sizes import readable


def lacking_for_upload(session: Session, settings: Settings, row: Dataset) -> str:
    """Why one more upload is not taken; empty where it is. Nobody knows what it unpacks to, so
    there has to be some room beside what is kept, and what waits for a check or an answer."""
    for bound in _bounds(session, settings, row):
        own = bound.whose.rows(Dataset)
        taken, waiting = stored_bytes(session, bound.whose), waiting_bytes(session, own)
        if taken + waiting >= bound.most:
            return _full(bound.files, taken, waiting, bound.most, bound.remedy)
    if most := settings.datasets_max_bytes:
        taken, waiting = kept_bytes(session), waiting_bytes(session)
        if taken + waiting >= most:
            return _full("all data sets", taken, waiting, most, "SAF_DATASETS_MAX_BYTES")
    return ""


def lacking(session: Session, settings: Settings, row: Dataset, sha256: str, bytes_: int) -> str:
    """Why there is no room for the content of a data set, of that size; empty where there is. What
    is kept already takes no room."""
    if why := room.lacking(session, _bounds(session, settings, row), sha256, bytes_):
        return why
    most, taken = settings.datasets_max_bytes, kept_bytes(session)
    if most and taken + bytes_ > most and not is_kept(session, sha256):
        return (
            f"all data sets take {readable(taken)} unpacked, this one would take "
            f"{readable(bytes_)}, and {readable(most)} are the most (SAF_DATASETS_MAX_BYTES)"
        )
    return ""


def _full(whose: str, taken: int, waiting: int, most: int, remedy: str) -> str:
    wait = "wait for a check or for the answer how they are to be read"
    also = f", uploads of {readable(waiting)} {wait}" if waiting else ""
    return (
        f"{whose} take {readable(taken)} unpacked{also}, and {readable(most)} are the most "
        f"({remedy})"
    )


def _bounds(session: Session, settings: Settings, row: Dataset) -> Iterator[room.Bound]:
    return room.bounds(
        session,
        settings,
        owner_id=row.owner_id or viewer.owner(),
        project_id=row.project_id or viewer.project(),
        address=row.uploaded_by,
    )
