"""Accounts when the service starts: the first admin, and what belonged to nobody."""

from __future__ import annotations

import logging
import sys

from sqlalchemy.orm import Session

from api.settings import Settings
from api.store.accounts import keys, users
from api.store.accounts.tables import User
from api.store.database import Database

log = logging.getLogger(__name__)


def open_accounts(database: Database, settings: Settings) -> None:
    """With accounts: make the first admin where there is nobody, and print their key, once, to
    standard output, which is not the log; give what belongs to nobody to the first admin."""
    if settings.auth == "open":
        return
    with database.writing() as session:
        made = None if settings.auth != "keys" or users.exist(session) else first_admin(session)
        adopted = users.adopt(session)
    if adopted:
        log.info("%d things that belonged to nobody belong to the first admin now", adopted)
    if made is not None:
        _print_key(*made)


def first_admin(session: Session, name: str = users.FIRST) -> tuple[User, str]:
    """The first user, an admin, and their key. ConflictError for a name that is taken."""
    user = users.add(session, name, is_admin=True)
    _, secret = keys.add(session, user, "first key")
    return user, secret


def _print_key(user: User, secret: str) -> None:
    log.info("the first admin, %s, was made; the key is on standard output", user.name)
    sys.stdout.write(
        f"The key of {user.name}, the first admin, which is not shown again:\n\n    {secret}\n\n"
        "`saf login` asks for it; browsers sign in with it.\n"
    )
    sys.stdout.flush()
