"""The commands of `saf` for who operates the service: clear up, back up, restore."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from api.commands.failures import told_in_words
from api.maintenance import backup as backups
from api.maintenance.collector import Janitor
from api.maintenance.restore import restore as restored
from api.maintenance.scrub import Scrubbed
from api.maintenance.scrub import scrub as scrubbed
from api.settings import Settings, settings
from api.store.blobs.open import open_store
from api.store.database import Database, why_away
from api.store.migrate import is_current, refuse_newer
from api.store.soundness import unsound_rows
from saf.cli.output import AsJson, complain, print_json, say, table
from saf.sizes import readable

commands = typer.Typer()
UNSOUND = 4  # exit status of `saf scrub`
DataDir = Annotated[
    Path | None, typer.Option(help="Where the service keeps everything.", show_default="./data")
]


@commands.command()
def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would go, and how many bytes.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Remove what the retention settings or nobody keeps any more; the service may run."""
    chosen = _settings(data_dir)
    with _database(chosen) as database:
        _collect(
            Janitor(database, open_store(chosen), chosen, whole_database=True), dry_run, as_json
        )


@contextmanager
def _database(chosen: Settings) -> Iterator[Database]:
    """The database of a service that is there. ValueError, in one line, where it is not."""
    address = make_url(chosen.database)
    if address.get_backend_name() == "sqlite" and not Path(address.database or "").is_file():
        raise ValueError(
            f"there is no service in {chosen.data_dir}; name its directory with --data-dir"
        )
    database = Database(chosen.database)
    try:
        refuse_newer(database)
        if not is_current(database):
            raise ValueError(
                "the tables are of an older version than this program; start the service once"
            )
        yield database
    except SQLAlchemyError as error:
        raise ValueError(f"the database does not answer: {why_away(error)}") from error
    finally:
        database.dispose()


def _collect(janitor: Janitor, dry_run: bool, as_json: bool) -> None:
    things: list[dict[str, str | int]] = []
    count: Counter[str] = Counter()
    freed: Counter[str] = Counter()
    for item in janitor.find():
        if dry_run or item.remove():
            things.append({"kind": item.kind, "name": item.name, "bytes": item.bytes})
            count[item.kind] += 1
            freed[item.kind] += item.bytes
    if as_json:
        total = sum(freed.values())
        return print_json({"dry_run": dry_run, "bytes": total, "items": things})
    if dry_run:
        rows = [(str(t["kind"]), str(t["name"]), readable(int(t["bytes"]))) for t in things]
        table(("kind", "name", "size"), rows, "")
    for kind in sorted(count):
        say(f"{kind}: {count[kind]}, {readable(freed[kind])}")
    does = "would go" if dry_run else "removed"
    return say(f"{does}: {readable(sum(freed.values()))} in {len(things)} things")


@commands.command()
def scrub(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Compare every stored file and row with what it should be; the service may run.

    Says what is lost and how it is had again. Exit status 0: all is sound; 4: something is not.
    """
    chosen = _settings(data_dir)
    with _database(chosen) as database:
        found = scrubbed(database, open_store(chosen), chosen.data_dir.absolute() / "cache")
    if as_json:
        print_json(found.as_json())
    else:
        _tell(found)
    if not found.is_sound:
        raise typer.Exit(UNSOUND)


def _tell(found: Scrubbed) -> None:
    for lost in found.lost:
        say(f"{lost.state}: {lost.sha256} ({readable(lost.bytes)}): {lost.reason}")
        for use in lost.uses:
            again = f"; to have it again: {use.again}" if use.again else "; passed over"
            say(f"  {use.what}{again}")
    for line in found.database:
        say(f"unreadable: {line}")
    for sha256 in found.copies_removed:
        say(f"removed a damaged copy in the cache: {sha256}")
    for sha256 in found.healed:
        say(f"whole again: {sha256}")
    wrong = len(found.lost) + len(found.database)
    verdict = "all of them what they should be" if not wrong else f"{wrong} things are not sound"
    say(f"{found.files} files, {readable(found.bytes)}: {verdict}")


@commands.command()
@told_in_words()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; a new one.")],
    data_dir: DataDir = None,
) -> None:
    """Write all that the one-machine service remembers into one file; the service may run."""
    chosen = _settings(data_dir)
    manifest = backups.write(chosen, file)
    with _database(chosen) as database, database.reading() as session:
        for line in unsound_rows(session.connection()):
            complain(f"WARNING: {line}; `saf restore` takes such rows with --keep-unreadable")
    say(f"{file}: the database and {len(manifest.blobs)} files, {readable(file.stat().st_size)}")


@commands.command()
@told_in_words()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `saf backup` wrote.")],
    data_dir: DataDir = None,
    keep_unreadable: Annotated[
        bool, typer.Option("--keep-unreadable", help="Also rows with values that are none.")
    ] = False,
) -> None:
    """Make a new data directory from a backup; `saf serve` goes on with its jobs."""
    chosen = _settings(data_dir)
    manifest = restored(chosen, file, keep_unreadable=keep_unreadable)
    say(
        f"{chosen.data_dir}: the database and {len(manifest.blobs)} files, all verified; "
        f"`saf serve --data-dir {chosen.data_dir}` goes on with its jobs"
    )


def _settings(data_dir: Path | None) -> Settings:
    chosen = settings()
    return chosen if data_dir is None else chosen.model_copy(update={"data_dir": data_dir})
