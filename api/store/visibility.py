"""Rows that a viewer may not see are not there: in one place, for every query of the ORM.

Each SELECT of a session that was opened in the name of a viewer (`api.store.viewer`) leaves out the
jobs, sweeps and data sets of others: lists, counts, `session.get`, subqueries. What has to know of
all of them, such as whether somebody else needs a data set, says so:
`.execution_options(**EVERYTHING)`. UPDATE and DELETE are not restricted; who may change a thing is
decided before (`api.accounts.guard`).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, event, false, or_
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

from api.store import viewer
from api.store.tables.jobs import Job, SavedSearch, Sweep
from api.store.tables.uploads import Dataset, UploadedNetwork
from api.store.viewer import Viewer
from api.store.webhooks.tables import Webhook

Kinds = type[Job | Sweep | Dataset | UploadedNetwork | Webhook | SavedSearch]
OWNED: tuple[Kinds, ...] = (Job, Sweep, Dataset, UploadedNetwork, Webhook, SavedSearch)
EVERYTHING: dict[str, Any] = {"saf_everything": True}
_VIEWER = "viewer"


def restrict(session: Session) -> None:
    """Let a session show what the viewer of this context may see."""
    found = viewer.current()
    if found is not None and not found.is_admin:
        session.info[_VIEWER] = found


def seen(table: Any, by: Viewer) -> ColumnElement[bool]:
    """The condition on a row of something that is owned."""
    own: ColumnElement[bool] = table.owner_id == by.user_id
    if not by.projects:
        return own
    return or_(own, table.project_id.in_(sorted(by.projects)))


@event.listens_for(Session, "do_orm_execute")
def _leave_out(state: ORMExecuteState) -> None:
    found: Viewer | None = state.session.info.get(_VIEWER)
    if found is None or not state.is_select or state.execution_options.get("saf_everything"):
        return
    for table in OWNED:
        criteria = seen(table, found) if found.user_id else false()
        state.statement = state.statement.options(
            with_loader_criteria(table, criteria, include_aliases=True, propagate_to_loaders=False)
        )
