"""Output of the commands."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from saf import printable
from saf.printable import lines, one_line

StrictOption = Annotated[
    bool, typer.Option("--strict", help="Exit status 1 where there are warnings.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def console(*, stderr: bool = False) -> Console:
    """Console for people."""
    return Console(highlight=False, stderr=stderr)


def say(text: str) -> None:
    """Some lines; no markup and no wrapping, since ids and paths are copied from here."""
    console().print(lines(text), markup=False, soft_wrap=True)


def complain(text: str) -> None:
    """A line about what went wrong."""
    console(stderr=True).print(lines(text), markup=False, soft_wrap=True)


def print_json(document: Any) -> None:
    """A document for a script, the same values in characters that a terminal does not obey."""
    sys.stdout.write(printable.json_document(document, sys.stdout.encoding) + "\n")


def pass_on(text: str) -> None:
    """A text from a server as it is, into a terminal without what that would obey."""
    sys.stdout.write(lines(text) if sys.stdout.isatty() else text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """Columns of text, or what to say where there is no row."""
    shown = Table(box=None, pad_edge=False)
    for name in head:
        shown.add_column(Text(one_line(name)), no_wrap=True, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(one_line(cell)) for cell in row))
    if shown.row_count:
        out = console()
        if not out.is_terminal:
            out.width = 1000  # a pipe has none; whole cells are what the next program wants
        out.print(shown)
    elif empty:
        say(empty)


def percent(share: float | None) -> str:
    """`97.50%`, nothing where there is none."""
    return "" if share is None else f"{share:.2%}"


def points(cost: float | None) -> str:
    """`0.25 points`, nothing where there is none."""
    return "" if cost is None else f"{cost:.2f} points"


def network_line(found: Mapping[str, Any]) -> str:
    """The LIF network of a job or its summary in one line: `LIF network 97.50%, proven`."""
    cost = found["rounding_cost_points"]
    rounding = "" if cost is None else f"; rounding its weights cost {points(cost)}"
    return f"LIF network {percent(found['lif_accuracy'])}, {found['verdict']}{rounding}"


def told_status(status: str | None, health: str | None) -> str:
    """`succeeded, with warnings`; a dash where there is no job."""
    return f"{status or '–'}{', with warnings' if health == 'warning' else ''}"


def moment(iso: str) -> str:
    """A time of the server in the time zone of this machine."""
    return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M:%S")
