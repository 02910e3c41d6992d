"""`saf users limit` and `saf projects limit`: how much a user or a project may have."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from saf.cli.output import AsJson, complain, print_json, table
from saf.cli.server import server_client
from saf.sizes import parsed, readable

UserName = Annotated[str, typer.Argument(metavar="USER", help="Name of the user.")]
ProjectName = Annotated[str, typer.Argument(metavar="PROJECT", help="Name of the project.")]
Running = Annotated[str, typer.Option(metavar="N", help="Jobs that have workers at once.")]
Waiting = Annotated[str, typer.Option(metavar="N", help="Jobs that wait.")]
Hours = Annotated[
    str, typer.Option(metavar="N", help="Device hours, within SAF_DEVICE_HOURS_DAYS.")
]
Stored = Annotated[str, typer.Option(metavar="BYTES", help="Data sets, unpacked, such as 200GiB.")]


def limit_user(
    name: UserName,
    jobs_running: Running = "",
    jobs_waiting: Waiting = "",
    device_hours: Hours = "",
    stored_bytes: Stored = "",
    uploads: Annotated[str, typer.Option(metavar="N", help="Uploads at once.")] = "",
    streams: Annotated[str, typer.Option(metavar="N", help="Live streams at once.")] = "",
    requests: Annotated[str, typer.Option(metavar="N", help="Requests within a minute.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say how much a user may have, by an admin, or show it: a number, 0 for any number, or
    `default` for what holds for all."""
    given = _numbers(
        jobs_running=jobs_running,
        jobs_waiting=jobs_waiting,
        device_hours=device_hours,
        stored_bytes=stored_bytes,
        uploads=uploads,
        streams=streams,
        requests=requests,
    )
    with server_client() as client:
        if given:
            client.accounts.limit_user(name, given)
        found = client.accounts.limits(user=name)
    print_json(found) if as_json else show(found)


def limit_project(
    name: ProjectName,
    jobs_running: Running = "",
    jobs_waiting: Waiting = "",
    device_hours: Hours = "",
    stored_bytes: Stored = "",
    as_json: AsJson = False,
) -> None:
    """Say how much a project may have, by an admin of the service, or show it: a number, 0 for any
    number, or `default` for what holds for all."""
    given = _numbers(
        jobs_running=jobs_running,
        jobs_waiting=jobs_waiting,
        device_hours=device_hours,
        stored_bytes=stored_bytes,
    )
    with server_client() as client:
        if given:
            client.accounts.limit_project(name, given)
        found = client.accounts.limits(project=name)
    print_json(found) if as_json else show(found)


def show(limits: list[dict[str, Any]]) -> None:
    """A table of limits and what is used of them."""
    rows = [
        (
            *(one["of"], one["title"], _amount(one, one["used"])),
            "any" if one["most"] is None else _amount(one, one["most"]),
            f"within {one['within_days']:g} days" if one["within_days"] else "",
            "" if one["is_default"] else "said by an admin",
        )
        for one in limits
    ]
    table(("Of", "What", "Used", "Most", "", ""), rows, "There is no limit.")


def _amount(one: dict[str, Any], number: float) -> str:
    if one["unit"] == "bytes":
        return readable(int(number))
    return f"{number:.1f}" if one["unit"] == "hours" else f"{number:g}"


def _numbers(**given: str) -> dict[str, float | None]:
    return {name: _number(name, text) for name, text in given.items() if text}


def _number(name: str, text: str) -> float | None:
    if text == "default":
        return None
    is_size = name == "stored_bytes"
    try:
        return parsed(text) if is_size else float(text)
    except ValueError:
        size = ", such as 200GiB" if is_size else ""
        complain(f"--{name.replace('_', '-')} is a number{size}, or default; not {text!r}")
        raise typer.Exit(2) from None
