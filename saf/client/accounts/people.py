"""The part of the Python client that is for accounts: `client.accounts`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from saf.client.connection.transport import Connection

Entry = dict[str, Any]
"""A user, a key or a project, as the server sent it."""


class Accounts:
    """Users, their keys, and projects that they share, over the connection of a `Client`; raises
    what that raises, `ApiError` with status 409 where the service has no accounts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def me(self) -> Entry:
        """Who asks: `user` (None where there are no accounts), `key`, `scopes`, `projects`."""
        return cast(Entry, self._connection.json("GET", "/v1/me"))

    def users(self) -> list[Entry]:
        """All users; for admins."""
        return self._listed("/v1/users")

    def add_user(self, name: str, *, admin: bool = False, subject: str = "") -> Entry:
        """Make a user; for admins. With the `subject` by which the provider of OpenID Connect knows
        them they sign in by it."""
        body = {"name": name, "admin": admin, **({"subject": subject} if subject else {})}
        return cast(Entry, self._connection.change("/v1/users", json=body))

    def change_user(
        self,
        user: str,
        *,
        admin: bool | None = None,
        disabled: bool | None = None,
        subject: str | None = None,
    ) -> Entry:
        """Make a user an admin or none, disable or enable, let whom the provider of OpenID Connect
        knows by a subject sign in as them, or by "" nobody; for admins."""
        given = {"admin": admin, "disabled": disabled, "subject": subject}
        body = {name: value for name, value in given.items() if value is not None}
        return cast(Entry, self._connection.json("PATCH", f"/v1/users/{user}", json=body))

    def limits(self, *, user: str = "", project: str = "") -> list[Entry]:
        """How much one and one's projects may have (`most`, None: any number) and have (`used`);
        or those of a project, or, for admins, of a user."""
        given = {"user": user, "project": project}
        return self._listed("/v1/limits", {name: of for name, of in given.items() if of})

    def limit_user(self, user: str, limits: Mapping[str, float | None]) -> None:
        """Say how much a user may have of what, by the `name`s of `limits()`; 0: any number, None:
        the default again; for admins."""
        self._connection.json("PATCH", f"/v1/users/{user}", json={"limits": dict(limits)})

    def limit_project(self, project: str, limits: Mapping[str, float | None]) -> None:
        """The same for a project; for admins of the service."""
        self._connection.json("PATCH", f"/v1/projects/{project}", json={"limits": dict(limits)})

    def keys(self, user: str = "") -> list[Entry]:
        """One's keys; for admins those of a user."""
        return self._listed("/v1/keys", {"user": user} if user else {})

    def add_key(
        self,
        name: str,
        *,
        scopes: Sequence[str] = (),
        expires_days: float | None = None,
        user: str = "",
    ) -> Entry:
        """Make a key; `secret` is it, and is not shown again."""
        body: Entry = {"name": name}
        if scopes:
            body["scopes"] = list(scopes)
        if expires_days is not None:
            body["expires_days"] = expires_days
        if user:
            body["user"] = user
        return cast(Entry, self._connection.change("/v1/keys", json=body))

    def revoke_key(self, key_id: str) -> None:
        """Close a key for good."""
        self._connection.request("DELETE", f"/v1/keys/{key_id}")

    def audit(self, *, thing: str = "", user: str = "", before: int = 0) -> Iterator[Entry]:
        """Who changed what, the newest first, lines before that number alone; for admins."""
        given = {"thing": thing, "user": user, "after": before}
        params = {name: value for name, value in given.items() if value}
        yield from self._connection.pages("/v1/audit", params)

    def end_sessions(self) -> None:
        """Sign out all of one's browsers."""
        self._connection.request("DELETE", "/v1/sessions")

    def projects(self) -> list[Entry]:
        """The projects that one sees."""
        return self._listed("/v1/projects")

    def project(self, name: str) -> Entry:
        """A project and its `members`."""
        return cast(Entry, self._connection.json("GET", f"/v1/projects/{name}"))

    def add_project(self, name: str) -> Entry:
        """Make a project, as its first admin."""
        return cast(Entry, self._connection.change("/v1/projects", json={"name": name}))

    def delete_project(self, name: str) -> None:
        """Delete a project that nothing belongs to."""
        self._connection.request("DELETE", f"/v1/projects/{name}")

    def put_member(self, project: str, user: str, role: str) -> Entry:
        """Let a user belong to a project as `viewer`, `member` or `admin`."""
        path = f"/v1/projects/{project}/members/{user}"
        return cast(Entry, self._connection.json("PUT", path, json={"role": role}))

    def remove_member(self, project: str, user: str) -> None:
        """Let a user belong to a project no more."""
        self._connection.request("DELETE", f"/v1/projects/{project}/members/{user}")

    def _listed(self, path: str, params: dict[str, str] | None = None) -> list[Entry]:
        found = self._connection.json("GET", path, params=params or {})
        return cast(list[Entry], found["data"])
