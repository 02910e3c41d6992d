"""Who asks: the account in whose name the code of this context reads and writes.

There is none in workers, threads of the service itself, commands, and where there are no accounts:
then all rows are there. `api.store.visibility` leaves out of what is read the rows that a viewer
may not see; what is stored in a viewer's name belongs to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["viewer", "member", "admin"]
"""Of a user in a project: sees all of it; adds to it, and changes what is their own; changes all of
it and who belongs to it."""
ROLES: tuple[Role, ...] = ("viewer", "member", "admin")
CREATING: tuple[Role, ...] = ("member", "admin")


@dataclass(frozen=True, kw_only=True)
class Viewer:
    """An account, and what is open to it."""

    user_id: str
    name: str
    is_admin: bool = False
    """Of the service: sees and changes everything."""
    projects: Mapping[str, Role] = field(default_factory=dict)
    """Their role in each project, by its id."""
    creates_in: str | None = None
    """The project that new things belong to; None: to nobody but the user."""
    limits: Mapping[str, float] = field(default_factory=dict, compare=False)
    """How much they may have of what, by `api.store.limits.kinds`; 0: any number."""

    def sees(self, owner_id: str | None, project_id: str | None) -> bool:
        """Whether a thing of that owner in that project is there for this viewer."""
        return self.is_admin or owner_id == self.user_id or project_id in self.projects

    def may_change(self, owner_id: str | None, project_id: str | None) -> bool:
        """Whether this viewer may steer and delete such a thing."""
        if self.is_admin or owner_id == self.user_id:
            return True
        return project_id is not None and self.projects.get(project_id) == "admin"

    def may_create_in(self, project_id: str | None) -> bool:
        """Whether new things of this viewer may belong to that project."""
        return project_id is None or self.is_admin or self.projects.get(project_id) in CREATING


_current: ContextVar[Viewer | None] = ContextVar("viewer", default=None)


def current() -> Viewer | None:
    """The viewer of this context; None: the service itself, or a service without accounts."""
    return _current.get()


def begin(viewer: Viewer) -> None:
    """Let the rest of this context, such as a request, be in the name of that viewer."""
    _current.set(viewer)


@contextmanager
def acting(viewer: Viewer | None) -> Iterator[None]:
    """The block is in the name of that viewer, None: of the service itself."""
    token = _current.set(viewer)
    try:
        yield
    finally:
        _current.reset(token)


def owner() -> str | None:
    """Whom a new thing belongs to."""
    viewer = current()
    return None if viewer is None else viewer.user_id


def project() -> str | None:
    """The project of a new thing."""
    viewer = current()
    return None if viewer is None else viewer.creates_in


def inherited(project_id: str | None) -> str | None:
    """The project of a new thing that follows one of that project: the same, if it may be."""
    viewer = current()
    return project_id if viewer is None or viewer.may_create_in(project_id) else None


def may_change(owner_id: str | None, project_id: str | None) -> bool:
    """Whether whoever asks may steer and delete such a thing."""
    viewer = current()
    return viewer is None or viewer.may_change(owner_id, project_id)
