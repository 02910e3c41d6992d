"""`saf accounts`: what whoever has the database does without a key, such as make the first one."""

from __future__ import annotations

import socket
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from api.accounts.opening import first_admin
from api.commands.failures import told_in_words
from api.errors import ServiceError
from api.settings import settings
from api.store.accounts import audit, keys, users
from api.store.accounts.tables import User
from api.store.database import Database
from api.store.migrate import migrate
from saf.cli.output import complain, say

commands = typer.Typer()
accounts = typer.Typer(no_args_is_help=True, help="Make keys on the machine of the database.")
commands.add_typer(accounts, name="accounts")


@accounts.command(name="first-key")
@told_in_words()
def first_key(
    name: Annotated[str, typer.Option(help="Of the first admin.")] = users.FIRST,
) -> None:
    """Make the first admin and print their key; what is stored already belongs to them."""
    database = _database()
    try:
        with database.writing() as session:
            if users.exist(session):
                complain("there are accounts already; `saf accounts new-key NAME` makes a key")
                raise typer.Exit(1)
            row, secret = first_admin(session, name)
            users.adopt(session)
            _record(session, row, "saf accounts first-key")
    except ServiceError as error:
        complain(error.detail)
        raise typer.Exit(1) from None
    finally:
        database.dispose()
    say(secret)


@accounts.command(name="new-key")
@told_in_words()
def new_key(
    user: Annotated[str, typer.Argument(help="Whose.")],
    enable: Annotated[
        bool, typer.Option("--enable", help="Let a user who was disabled come in again.")
    ] = False,
) -> None:
    """Print a new key of a user, where nobody has one any more that works."""
    database = _database()
    try:
        with database.writing() as session:
            row = users.find(session, user)
            if enable:
                users.change(session, row, disabled=False)
            scopes = keys.SCOPES[:3] if row.is_admin else keys.SCOPES[:2]
            _, secret = keys.add(session, row, "made on the server", scopes=scopes)
            _record(session, row, "saf accounts new-key")
    except ServiceError as error:
        complain(error.detail)
        raise typer.Exit(1) from None
    finally:
        database.dispose()
    say(secret)


def _record(session: Session, user: User, command: str) -> None:
    """A line of the record: whoever has the database acted, for that user."""
    audit.append(
        session,
        user="on the server",
        user_id=None,
        key_id=None,
        address=socket.gethostname(),
        action=command,
        thing_id=user.id,
        status=0,
        request_id="",
    )


def _database() -> Database:
    database = Database(settings().database)
    migrate(database)
    return database
