"""From what a request carries to an account: a key, a browser session, or the word of a proxy."""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Callable, Collection

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from api.accounts.recording import Actor, ClosedError
from api.errors import ConflictError, InvalidRequestError, UnauthorizedError
from api.settings import Settings
from api.store.accounts import keys, projects, sessions, users
from api.store.accounts.tables import ApiKey, User
from api.store.database import Database, clock
from api.store.limits import numbers
from api.store.viewer import Viewer
from api.web.caller import Caller

COOKIE = "saf_session"
PROXY_SECRET = "saf-proxy-secret"
_PROXY = "proxy:"  # what the subjects of users of a proxy begin with
PATIENCE_SECONDS = 2.0  # for others who write, of somebody who comes for the first time
ALL = frozenset({"read", "write", "admin", "metrics"})
_UNFIT = re.compile(r"[^a-z0-9._@\-]+")
log = logging.getLogger(__name__)


class Identifier:
    """Finds out who sends a request."""

    def __init__(
        self, database: Database, settings: Settings, note_use: Callable[[str, float], None]
    ) -> None:
        """`note_use(key_id, at)` notes when a key was used, without waiting for anything."""
        self._database = database
        self._settings = settings
        self._note_use = note_use

    def caller(self, scope: Scope) -> Caller:
        """The account that sends a request. Raises UnauthorizedError, with what to do."""
        headers = Headers(scope=scope)
        given = headers.get("authorization")
        named = self._named_by_proxy(scope, headers) if self._settings.auth == "proxy" else ""
        # A password (`Basic`) that the proxy has asked for, and passes on, is its own matter.
        if given is not None and not (named and not given.lower().startswith("bearer ")):
            return self._by_key(given)
        if named:
            return self._by_proxy(named)
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if cookie:
            return self._by_cookie(cookie)
        if self._settings.auth == "proxy":
            raise UnauthorizedError(
                f"the proxy in front of this service names the user ({self._header}); it did not, "
                "or is not one that SAF_TRUSTED_PROXIES names"
            )
        raise UnauthorizedError(
            "send a key as Authorization: Bearer saf_…; `saf login` keeps one for the commands, "
            "SAF_TOKEN is one, and browsers sign in at /login"
        )

    @property
    def _header(self) -> str:
        return self._settings.proxy_user_header

    def _by_key(self, given: str) -> Caller:
        scheme, _, secret = given.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise UnauthorizedError("send a key as Authorization: Bearer saf_…")
        with self._database.reading() as session:
            at = clock(session)
            key = keys.by_secret(session, secret.strip())
            if key is None:
                raise UnauthorizedError(
                    "there is no such key; make one on the page /account or by `saf keys create`"
                )
            user = session.get_one(User, key.user_id)
            if why := keys.why_closed(key, at):
                said = f"the key {key.name} ({key.prefix}…) {why}; make another"
                raise ClosedError(said, _actor(user, key))
            _check_enabled(user, key)
            scopes = _scopes(user, key)
            caller = Caller(
                viewer=_viewer(session, user, scopes),
                scopes=scopes,
                how="key",
                key_id=key.id,
            )
            is_stale = key.last_used_at is None or key.last_used_at < at - keys.USED_SECONDS
        if is_stale:
            self._note_use(key.id, at)
        return caller

    def _by_cookie(self, cookie: str) -> Caller:
        again = "sign in again at /login"
        with self._database.reading() as session:
            row = sessions.by_cookie(session, cookie)
            if row is None:
                raise UnauthorizedError(f"the session of this browser has ended; {again}")
            key = session.get(ApiKey, row.key_id) if row.key_id else None
            user = session.get_one(User, row.user_id)
            if key is not None and (why := keys.why_closed(key, clock(session))):
                said = f"the key that this browser signed in with {why}; {again}"
                raise ClosedError(said, _actor(user, key))
            _check_enabled(user, key)
            scopes = _scopes(user, key)
            viewer = _viewer(session, user, scopes)
            return Caller(
                viewer=viewer,
                adds_to=_adds_to(session, viewer),
                scopes=scopes,
                how="session",
                key_id=row.key_id,
                session_id=row.id,
                csrf=row.csrf,
            )

    def _named_by_proxy(self, scope: Scope, headers: Headers) -> str:
        """The user that a trusted proxy names; empty where none does."""
        client = scope.get("client")
        if not client or client[0] not in self._settings.trusted_proxies:
            return ""
        secret = self._settings.proxy_secret
        given = headers.get(PROXY_SECRET, "")
        if secret and not hmac.compare_digest(given.encode(), secret.encode()):
            return ""
        named = headers.getlist(self._header)
        return named[0].strip() if len(named) == 1 else ""

    def _by_proxy(self, subject: str) -> Caller:
        with self._database.reading() as session:
            user = _of_subject(session, subject)
        if user is None:
            user = self._first_came(subject)
        _check_enabled(user, None)
        scopes = _scopes(user, None)
        with self._database.reading() as session:
            viewer = _viewer(session, user, scopes)
            return Caller(
                viewer=viewer, adds_to=_adds_to(session, viewer), scopes=scopes, how="proxy"
            )

    def _first_came(self, subject: str) -> User:
        """The new user of somebody whom the proxy names. Several of their requests may come at the
        same moment."""
        name = _UNFIT.sub("-", subject.lower()).strip("-._@")[:64]
        is_admin = subject in self._settings.admins
        try:
            with self._database.writing(patience=PATIENCE_SECONDS) as session:
                if (user := _of_subject(session, subject)) is not None:
                    return user
                user = users.add(session, name, is_admin=is_admin, subject=_PROXY + subject)
                if user.is_admin:
                    users.adopt(session)
        except (ConflictError, InvalidRequestError) as error:
            with self._database.reading() as session:
                if (user := _of_subject(session, subject)) is not None:
                    return user
            raise UnauthorizedError(
                f"the proxy names {subject}, who cannot be the user {name!r} here: {error.detail}. "
                "An admin gives them another name at the proxy"
            ) from error
        log.info("%s came for the first time", user.name)
        return user


def _of_subject(session: Session, subject: str) -> User | None:
    return session.scalar(select(User).where(User.subject == _PROXY + subject))


def _check_enabled(user: User, key: ApiKey | None) -> None:
    if user.disabled_at is not None:
        raise ClosedError(f"{user.name} was disabled by an admin", _actor(user, key))


def _actor(user: User, key: ApiKey | None) -> Actor:
    return Actor(user=user.name, user_id=user.id, key_id=None if key is None else key.id)


def _scopes(user: User, key: ApiKey | None) -> frozenset[str]:
    """What a user's key, or signing in without one, opens."""
    given = ALL if key is None else frozenset(key.scopes)
    return given if user.is_admin else given - {"admin", "metrics"}


def _viewer(session: Session, user: User, scopes: Collection[str]) -> Viewer:
    """An admin whose key lacks that scope sees and changes what any user would in their place."""
    return Viewer(
        user_id=user.id,
        name=user.name,
        is_admin="admin" in scopes,
        projects=projects.roles(session, user.id),
        limits=numbers.of(session, "users", user.id),
    )


def _adds_to(session: Session, viewer: Viewer) -> tuple[str, ...]:
    return projects.creatable(session, None if viewer.is_admin else viewer.projects)
