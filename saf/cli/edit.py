"""`saf edit`: name, note, tags and favourites on jobs of a server."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from saf.cli.jobs import JobId, server_client
from saf.cli.output import AsJson, print_json, say
from saf.printable import one_line

commands = typer.Typer()


@commands.command()
def edit(
    job_id: JobId,
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
    """Name a job, write notes on it, tag it; its training stays as it is."""
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
            there = dict.fromkeys([*client.get(job_id)["tags"], *tag])
            missing = [one for one in untag if one not in there]
            if missing:
                raise typer.BadParameter(f"the job has no tag {missing[0]!r}", param_hint="--untag")
            changes["tags"] = [one for one in there if one not in untag]
        job = client.edit(job_id, **changes)
    if as_json:
        return print_json(job)
    star = " ★" if job["favourite"] else ""
    say(one_line(f"{job['id']}{star}  {job['name']}".rstrip()))
    if job["tags"]:
        say(f"tags: {one_line(', '.join(job['tags']))}")
    return None
