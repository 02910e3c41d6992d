"""`saf searches`: filters and order of the list of jobs under a name."""

from __future__ import annotations

from typing import Annotated

import typer

from saf.cli.output import AsJson, print_json, say, table
from saf.cli.server import server_client

searches = typer.Typer(no_args_is_help=True, help="Saved searches of the list of jobs.")
SearchName = Annotated[str, typer.Argument(metavar="SEARCH", help="Its name or id.")]


@searches.command(name="add")
def add_search(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    query: Annotated[
        str, typer.Argument(help="As in an address, such as 'status=failed&tag=paper'.")
    ],
    as_json: AsJson = False,
) -> None:
    """Save a search; with SAF_PROJECT the members of that project see it, too."""
    with server_client() as client:
        made = client.searches.add(name, query)
    print_json(made) if as_json else say(made["id"])


@searches.command(name="list")
def list_searches(as_json: AsJson = False) -> None:
    """List saved searches; `saf list --saved NAME` lists the jobs that one finds."""
    with server_client() as client:
        found = client.searches.list()
    if as_json:
        return print_json(found)
    rows = [
        (one["id"], one["name"], one["query"], one["owner"] or "", one["project"] or "")
        for one in found
    ]
    return table(("Id", "Name", "Finds", "Of", "Project"), rows, "There is no search.")


@searches.command(name="remove")
def remove_search(search: SearchName) -> None:
    """Delete a saved search; the jobs that it finds stay."""
    with server_client() as client:
        client.searches.remove(client.searches.find(search)["id"])
