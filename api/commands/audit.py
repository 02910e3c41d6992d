"""`saf audit`: the record of who changed what, read from the database."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from api.commands.failures import told_in_words
from api.settings import settings
from api.store.accounts import audit
from api.store.database import Database
from api.store.migrate import is_current
from saf.cli.output import complain, say

commands = typer.Typer()
audits = typer.Typer(no_args_is_help=True, help="The record of who changed what.")
commands.add_typer(audits, name="audit")


@audits.command()
@told_in_words()
def verify(
    expect: Annotated[
        str, typer.Option(metavar="HASH", help="That of the last line when it was last verified.")
    ] = "",
) -> None:
    """Check that no line was changed, taken out or put in; exit status 4 where one was. Keep the
    hash that it prints elsewhere: with --expect lines that were cut off at the end are found."""
    with _reading() as session:
        number, sha256, wrong = audit.verify(session)
        known = not expect or any(line.sha256 == expect for line in audit.lines(session))
    if wrong:
        complain(f"{wrong}; the {number} lines before it are as they were written")
        raise typer.Exit(4)
    if not known:
        complain(f"no line has the hash {expect}: lines were cut off at the end, or all replaced")
        raise typer.Exit(4)
    say(f"{number} lines are as they were written\n{sha256}")


@audits.command()
@told_in_words()
def export(
    after: Annotated[int, typer.Option(min=0, help="Only lines after this number.")] = 0,
) -> None:
    """Print all lines as JSON, one each, with their hashes."""
    with _reading() as session:
        for line in audit.lines(session, after=after):
            sys.stdout.write(json.dumps(audit.as_json(line)) + "\n")


@contextmanager
def _reading() -> Iterator[Session]:
    database = Database(settings().database)
    try:
        if not is_current(database):
            complain(
                "the database has no tables, or those of another version; name that of the service "
                "(DATABASE_URL, or SAF_DATA_DIR), or start the service once, which brings them"
            )
            raise typer.Exit(1)
        with database.reading() as session:
            yield session
    finally:
        database.dispose()
