"""How much the data sets of a user, and of all, may take: by what they unpack to, not by what their
uploads weigh."""

from __future__ import annotations

from sqlalchemy.orm import Session

from api.settings import Settings
from api.store.datasets import kept_bytes
from saf.sizes import readable


def lacking(session: Session, settings: Settings, user: str | None, more: int = 1) -> str:
    """Why there is no room for a data set of so many bytes; empty where there is."""
    for whose, of, most, name in (
        (f"the data sets of {user}", user, settings.datasets_max_bytes_per_user, "_PER_USER"),
        ("all data sets", None, settings.datasets_max_bytes, ""),
    ):
        if not most or (name and of is None):
            continue
        taken = kept_bytes(session, of)
        if taken + more > most:
            this = f", this one would take {readable(more)}" if more > 1 else ""
            return (
                f"{whose} take {readable(taken)} unpacked{this}, and {readable(most)} are the most "
                f"(SAF_DATASETS_MAX_BYTES{name})"
            )
    return ""
