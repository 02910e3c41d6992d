"""The commands of `saf` about well-known data sets: which there are, and bringing one here."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from saf.cli.data import datasets, reading
from saf.cli.output import AsJson, console, say, table
from saf.cli.server import server_client
from saf.client.fetch import fetch as download
from saf.data.wellknown import KNOWN, check, pack

commands = typer.Typer()


@commands.command()
def known() -> None:
    """List the well-known data sets that `saf datasets fetch` brings."""
    rows = [(name, entry.title, entry.licence) for name, entry in KNOWN.items()]
    table(("name", "what", "licence"), rows, "none")


@commands.command()
def fetch(
    name: Annotated[str, typer.Argument(help="As `saf datasets known` lists it.")],
    folder: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="Where the files lie that you downloaded."),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="Write the one file, and upload nothing."),
    ] = None,
    read: datasets.ReadOption = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Download a well-known data set, check its checksums and upload it to the server.

    Where this machine cannot download, it says what to do by hand.
    """
    if name not in KNOWN:
        raise typer.BadParameter(f"is none of {', '.join(KNOWN)}", param_hint="NAME")
    entry = KNOWN[name]
    say(f"{entry.title}\nlicence: {entry.licence}\nplease cite: {entry.cite}\n{entry.page}")
    if folder is None:
        folder = _downloaded(name)
    else:
        check(entry, folder)
    settings = dict(entry.settings) | reading.settings_of(read)
    with tempfile.TemporaryDirectory(prefix="saf-fetch-") as place:
        if to is not None:
            say(str(pack(entry, folder, to)))
            return
        file = pack(entry, folder, Path(place) / f"{name}.zip")
        with server_client() as client:
            with datasets.sending() as progress:
                sent = client.upload_dataset(file, name=name, settings=settings, progress=progress)
            datasets.finish(client, client.wait_dataset(sent["id"]), as_json)


def _downloaded(name: str) -> Path:
    tasks: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:

        def report(file: str, count: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = bar.add_task(file, total=total or None)
            bar.update(tasks[file], completed=count)

        return download(name, report)
