"""Who somebody of the provider is here. The provider knows them by issuer and subject, which alone
count: a name that they have there gives them nothing that belongs to the user of that name here."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from api.accounts.oidc.idtoken import is_subject
from api.accounts.recording import Actor, ClosedError
from api.errors import ConflictError, ForbiddenError, InvalidRequestError
from api.settings import Settings
from api.store.accounts import users
from api.store.accounts.tables import User
from api.webhooks.mail.addresses import is_box

_UNFIT = re.compile(r"[^a-z0-9._@\-]+")
log = logging.getLogger(__name__)


def known(session: Session, issuer: str, subject: str) -> User | None:
    """The user whom that subject is linked to. ClosedError for one who is disabled."""
    user = users.by_identity(session, issuer, subject)
    if user is not None and user.disabled_at is not None:
        actor = Actor(user=user.name, user_id=user.id, key_id=None)
        raise ClosedError(f"the user {user.name} was disabled by an admin", actor)
    return user


def link(session: Session, settings: Settings, user: User, subject: str) -> None:
    """Let whom the provider knows by that subject sign in as a user; an empty one: let nobody.
    InvalidRequestError, ConflictError."""
    if not subject:
        users.unlink(session, user)
        return
    if not settings.oidc_issuer:
        raise InvalidRequestError.at("/subject", "this service has no provider (SAF_OIDC_ISSUER)")
    if not is_subject(subject):
        raise InvalidRequestError.at("/subject", "is what a provider knows somebody by, as it is")
    users.link(session, user, settings.oidc_issuer, subject)


def newcomer(session: Session, settings: Settings, claims: Mapping[str, Any]) -> User:
    """A new user for somebody whom nobody has linked to one, where the settings say so.
    ForbiddenError, with what to ask an admin for, else, and for a name that is taken or is none."""
    subject = str(claims["sub"])
    command = f"saf users link NAME --subject {shlex.quote(subject)}"
    ask = f"ask an admin for `{command}`, with the name of your user"
    if settings.oidc_new_users == "refuse":
        raise ForbiddenError(
            f"{settings.oidc_name} says who you are, and no user here is linked to that; {ask}"
        )
    name = name_of(settings, claims)
    try:
        user = users.add(session, name)
        users.link(session, user, settings.oidc_issuer, subject)
    except ConflictError:
        raise ForbiddenError(
            f"you are {name} at {settings.oidc_name}, and there is a user {name} here already, who "
            f"may be somebody else; if it is you, {ask}"
        ) from None
    except InvalidRequestError:
        raise ForbiddenError(
            f"{settings.oidc_name} gives you no name that a user can have here "
            f"({settings.oidc_claim}, or email); {ask}, which they make first"
        ) from None
    log.info("%s came for the first time", user.name)
    return user


def note_email(user: User, claims: Mapping[str, Any]) -> None:
    """Remember the mail box that the provider has verified, where it says one."""
    if "email" in claims:
        said = claims["email"]
        is_theirs = claims.get("email_verified") is True and isinstance(said, str) and is_box(said)
        user.email = said if is_theirs else None


def name_of(settings: Settings, claims: Mapping[str, Any]) -> str:
    """The name that somebody would have here; empty where the provider says none."""
    for claim in (settings.oidc_claim, "email"):
        if claim == "email" and claims.get("email_verified") is False:
            continue  # it may be anybody's
        said = claims.get(claim)
        name = _UNFIT.sub("-", said.lower()).strip("-._@")[:64] if isinstance(said, str) else ""
        if name:
            return name
    return ""
