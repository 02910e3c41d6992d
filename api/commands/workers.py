"""The commands of `saf worker`: run one, and ask workers to end, through the database."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from api.settings import Settings, settings
from api.store import workers
from api.store.database import Database, why_away
from api.store.migrate import refuse_newer
from api.store.tables.workers import Worker
from api.store.workers import Drain, is_alive
from saf.cli.output import complain, say

LOOK_SECONDS = 0.3
commands = typer.Typer(name="worker", help="Run a worker, or ask workers to end.")


@commands.callback(invoke_without_command=True)
def worker(context: typer.Context) -> None:
    """Run a worker for the service that BROKER_URL and DATABASE_URL name."""
    if context.invoked_subcommand is None:
        os.execv(sys.executable, [sys.executable, "-P", "-m", "worker"])


@commands.command()
def drain(
    name: Annotated[
        str | None, typer.Argument(help="Id of a worker, or the host of several.")
    ] = None,
    here: Annotated[bool, typer.Option("--here", help="All workers of this machine.")] = False,
    everywhere: Annotated[bool, typer.Option("--all", help="All workers.")] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="Let running jobs end, however long they take.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Return when the workers have ended.")] = True,
    data_dir: Annotated[
        Path | None, typer.Option(help="Of `saf serve`, where DATABASE_URL is not set.")
    ] = None,
) -> None:
    """Ask workers to take no new jobs and to end.

    What runs writes a checkpoint and goes back into the queue, where another worker takes it up at
    the same step. Workers read the request with their next heartbeat.
    """
    if [name is not None, here, everywhere].count(True) != 1:
        raise typer.BadParameter("give the id or host of a worker, --here or --all: one of them")
    chosen = settings()
    if data_dir is not None:
        chosen = chosen.model_copy(update={"data_dir": data_dir})
    database = _database(chosen)
    try:
        refuse_newer(database)
        with database.writing() as session:
            how = Drain.finish if finish else Drain.hand_back
            host = socket.gethostname() if here else None
            asked = {row.id: row for row in workers.drain(session, how, name=name, host=host)}
            alive = _alive(database, chosen, list(asked))
        if not alive:
            complain("no such worker is alive")
            raise typer.Exit(1)
        for worker_id in alive:
            say(f"asked {worker_id} on {asked[worker_id].host} ({asked[worker_id].busy} busy)")
        while wait and alive:
            time.sleep(LOOK_SECONDS)
            left = _alive(database, chosen, alive)
            for worker_id in set(alive) - set(left):
                say(f"{worker_id} has ended")
            alive = left
    except SQLAlchemyError as error:
        complain(f"the database cannot be used: {why_away(error)}; see DATABASE_URL")
        raise typer.Exit(1) from error
    finally:
        database.dispose()


def _alive(database: Database, chosen: Settings, ids: list[str]) -> list[str]:
    with database.reading() as session:
        query = select(Worker.id).where(Worker.id.in_(ids), is_alive(chosen)).order_by(Worker.id)
        return list(session.scalars(query))


def _database(chosen: Settings) -> Database:
    address = make_url(chosen.database)
    if address.get_backend_name() == "sqlite" and not Path(address.database or "").is_file():
        complain(
            f"there is no database {address.database}: set DATABASE_URL, or give --data-dir as to "
            "`saf serve`"
        )
        raise typer.Exit(1)
    return Database(chosen.database)
