"""How much the data sets of a user, and of all, may take: by what they unpack to, not by what their
uploads weigh; and by what those weigh that are not unpacked yet. Whoever counts does so alone
(`api.store.datasets.count_alone`)."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.orm import Session

from api.settings import Settings
from api.store.datasets import is_kept, kept_bytes, waiting_bytes
from saf.sizes import readable


def lacking_for_upload(session: Session, settings: Settings, user: str | None) -> str:
    """Why one more upload is not taken; empty where it is. Nobody knows what it unpacks to, so
    there has to be some room beside what is kept, and what waits for a check or an answer."""
    for whose, of, most, setting in _bounds(settings, user):
        taken, waiting = kept_bytes(session, of), waiting_bytes(session, of)
        if taken + waiting >= most:
            wait = "wait for a check or for the answer how they are to be read"
            also = f", uploads of {readable(waiting)} {wait}" if waiting else ""
            return (
                f"{whose} take {readable(taken)} unpacked{also}, and {readable(most)} are the most "
                f"({setting})"
            )
    return ""


def lacking(
    session: Session, settings: Settings, user: str | None, sha256: str, bytes_: int
) -> str:
    """Why there is no room for a data set of that content and size; empty where there is. What is
    kept already takes no room."""
    for whose, of, most, setting in _bounds(settings, user):
        taken = kept_bytes(session, of)
        if taken + bytes_ > most and not is_kept(session, sha256, of):
            return (
                f"{whose} take {readable(taken)} unpacked, this one would take {readable(bytes_)}, "
                f"and {readable(most)} are the most ({setting})"
            )
    return ""


def _bounds(settings: Settings, user: str | None) -> Iterator[tuple[str, str | None, int, str]]:
    """Whose, of which user (None: of all), how many bytes, by which setting."""
    if (most := settings.datasets_max_bytes_per_user) and user is not None:
        yield f"the data sets of {user}", user, most, "SAF_DATASETS_MAX_BYTES_PER_USER"
    if most := settings.datasets_max_bytes:
        yield "all data sets", None, most, "SAF_DATASETS_MAX_BYTES"
