"""Saved searches in the database."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.errors import ConflictError, NotFoundError
from api.jobs.searches.schemas import NewSearch, SearchDocument, search_document
from api.store import viewer
from api.store.database import clock
from api.store.ids import new_id
from api.store.limits import numbers
from api.store.tables.jobs import SavedSearch
from api.web.caller import Names

MOST = 50  # of one user, so that they fit above the list


def find_searches(session: Session) -> list[SearchDocument]:
    """All that one sees, by name."""
    rows = list(session.scalars(select(SavedSearch).order_by(SavedSearch.name, SavedSearch.id)))
    names = Names(session, ((row.owner_id, row.project_id) for row in rows))
    return [search_document(row, names) for row in rows]


def read_search(session: Session, search_id: str) -> SavedSearch:
    """The search, or NotFoundError."""
    found = session.get(SavedSearch, search_id, with_for_update=True)
    if found is None:
        raise NotFoundError(f"there is no search {search_id[:60]}")
    return found


def save(session: Session, wanted: NewSearch, project_id: str | None) -> SavedSearch:
    """A new one, of whoever asks, or of a project. ConflictError for a name that they have given
    already, and for too many."""
    owner_id = viewer.owner()
    numbers.count_alone(session, f"searches {owner_id}")
    own = SavedSearch.owner_id == owner_id if owner_id else SavedSearch.owner_id.is_(None)
    if session.scalar(select(SavedSearch.id).where(own, SavedSearch.name == wanted.name)):
        said = f"there is a search {wanted.name} already; delete it or use another name"
        raise ConflictError(said)
    if (session.scalar(select(func.count()).select_from(SavedSearch).where(own)) or 0) >= MOST:
        raise ConflictError(f"{MOST} searches are saved, which are the most; delete one first")
    row = SavedSearch(
        id=new_id("sch"),
        name=wanted.name,
        query=wanted.query,
        created_at=clock(session),
        project_id=project_id,
    )
    session.add(row)
    session.flush()
    return row


def saved(session: Session, row: SavedSearch) -> SearchDocument:
    """The JSON of one."""
    return search_document(row, Names(session, [(row.owner_id, row.project_id)]))
