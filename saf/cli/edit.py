"""`saf edit`: name, note, tags and favourites on jobs, sweeps and data sets of a server."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from saf.cli.output import AsJson, print_json, say
from saf.cli.server import server_client
from saf.client.client import Client
from saf.printable import one_line

commands = typer.Typer()


@commands.command()
def edit(
    thing: Annotated[
        str,
        typer.Argument(metavar="ID", help="Of a job, a sweep or a data set.", show_default=False),
    ],
    name: Annotated[str | None, typer.Option(help="Its name.")] = None,
    note: Annotated[
        str | None, typer.Option(help="Its notes, in Markdown; - reads standard input.")
    ] = None,
    tag: Annotated[list[str], typer.Option(help="Put this tag on it; repeatable.")] = [],  # noqa: B006
    untag: Annotated[list[str], typer.Option(help="Take this tag off; repeatable.")] = [],  # noqa: B006
    favourite: Annotated[
        bool | None, typer.Option("--favourite/--no-favourite", help="Whether it is a favourite.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Name a job or a sweep, tag it or a data set, write notes; all else stays as it is."""
    changes: dict[str, Any] = {}
    if name is not None:
        changes["name"] = name
    if note is not None:
        changes["notes"] = sys.stdin.read() if note == "-" else note
    if favourite is not None:
        changes["favourite"] = favourite
    if not (changes or tag or untag):
        raise typer.BadParameter(
            "nothing is to be changed; give --name, --note, --tag, --untag or --favourite",
            param_hint="saf edit",
        )
    with server_client() as client:
        if tag or untag:
            there = dict.fromkeys([*_read(client, thing)["tags"], *tag])
            missing = [one for one in untag if one not in there]
            if missing:
                raise typer.BadParameter(f"it has no tag {missing[0]!r}", param_hint="--untag")
            changes["tags"] = [one for one in there if one not in untag]
        edited = _write(client, thing, changes)
    if as_json:
        return print_json(edited)
    star = " ★" if edited["favourite"] else ""
    say(one_line(f"{edited['id']}{star}  {edited['name']}".rstrip()))
    if edited["tags"]:
        say(f"tags: {one_line(', '.join(edited['tags']))}")
    return None


def _read(client: Client, thing: str) -> Mapping[str, Any]:
    if thing.startswith("swp_"):
        return client.sweeps.get(thing)
    return client.dataset(thing) if thing.startswith("ds_") else client.get(thing)


def _write(client: Client, thing: str, changes: Mapping[str, Any]) -> Mapping[str, Any]:
    if thing.startswith("swp_"):
        return client.sweeps.edit(thing, **changes)
    if thing.startswith("ds_"):
        return client.edit_dataset(thing, **changes)
    return client.edit(thing, **changes)
