"""Errors of the service's commands, in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from api.host.listener import ListenError
from api.local.serve import ServeError
from api.maintenance.backup import BackupError
from saf.cli.output import complain


@contextmanager
def told_in_words() -> Iterator[None]:
    """Around a command: its errors end it with exit status 1 and a line, without a traceback."""
    try:
        yield
    except (ServeError, ListenError, BackupError) as error:
        complain(str(error))
        raise typer.Exit(1) from None
