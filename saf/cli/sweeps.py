"""The commands of `saf sweep`: many jobs from one request."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from saf.cli import specification
from saf.cli.data.presets import put_dataset
from saf.cli.jobs import (
    FavouriteOption,
    MineOption,
    ProjectOption,
    TagOption,
    upload_init,
)
from saf.cli.output import (
    AsJson,
    StrictOption,
    complain,
    console,
    moment,
    pass_on,
    percent,
    points,
    print_json,
    say,
    table,
    told_status,
)
from saf.cli.server import server_client
from saf.cli.specification import (
    DatasetOption,
    EpochsOption,
    FreezeOption,
    InitNetworkOption,
    InitOption,
    MethodOption,
    NameOption,
    NetworkOption,
    PresetOption,
    SetOption,
    SpecificationFile,
    TimestepsOption,
)
from saf.client.client import Client
from saf.client.documents import Sweep
from saf.printable import one_line
from saf.sizes import readable

commands = typer.Typer(help="Many jobs from one request.", no_args_is_help=True)

SweepId = Annotated[str, typer.Argument(metavar="SWEEP", help="Id of the sweep.")]


@commands.command()
def submit(
    spec: SpecificationFile = None,
    preset: PresetOption = None,
    over: Annotated[
        list[str],
        typer.Option(
            "--over",
            metavar="KEY=V1,V2",
            help="Values of a setting, as neuron.decay=0.5,0.9; a JSON list where a value has "
            "commas. Repeatable: every value with every other.",
        ),
    ] = [],  # noqa: B006
    dataset: DatasetOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    name: NameOption = None,
    epochs: EpochsOption = None,
    timesteps: TimestepsOption = None,
    init: InitOption = None,
    init_network: InitNetworkOption = None,
    freeze: FreezeOption = [],  # noqa: B006
    set_: SetOption = [],  # noqa: B006
    zip_: Annotated[
        bool, typer.Option("--zip", help="The first values together, then the second ones, …")
    ] = False,
    dry: Annotated[bool, typer.Option("--dry", help="Only say what the sweep would be.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Wait for its end, show the table.")
    ] = False,
    strict: StrictOption = False,
    as_json: AsJson = False,
) -> None:
    """Submit a job for each combination of values, or none where one of them could not work."""
    options = {
        "dataset": dataset,
        "network": network,
        "method": method,
        "epochs": epochs,
        "timesteps": timesteps,
    }
    chosen = specification.preset_of(preset)
    body = specification.read(spec, options, set_, chosen)
    specification.put_init(body, init, freeze, network=init_network)
    values = specification.read_over(over, body)
    mode: Any = "zip" if zip_ else "grid"
    with server_client() as client:
        put_dataset(client, body, chosen)
        upload_init(client, body, init_network)
        if dry:
            found = client.sweeps.validate(values, body, name=name or "", mode=mode)
            if as_json:
                return print_json(found)
            say(
                f"{found['jobs_total']} jobs, the largest of them about "
                f"{readable(found['memory_forecast_bytes'])} of memory"
            )
            for each in found["names"]:
                say(each)
            return None
        sweep = client.sweeps.submit(values, body, name=name or "", mode=mode)
        if not as_json:
            page = client.address(sweep["urls"]["page"])
            say(f"{sweep['id']}  {sweep['jobs_total']} jobs  {page}")
        if watch:
            sweep = _watched(client, sweep, as_json)
        if as_json:
            print_json(sweep)
        elif watch:
            _table(sweep)
    warned = strict and any(row["health"] == "warning" for row in sweep["rows"])
    if watch and (set(sweep["counts"]) != {"succeeded"} or warned):
        raise typer.Exit(1)
    return None


@commands.command(name="list")
def list_(
    tag: TagOption = [],  # noqa: B006
    favourite: FavouriteOption = False,
    mine: MineOption = False,
    project: ProjectOption = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List sweeps, newest first."""
    with server_client() as client:
        found = client.sweeps.list(
            tags=tag,
            favourite=True if favourite else None,
            mine=mine,
            project=project,
            page=min(limit, 200),
        )
        sweeps = [sweep for sweep, _ in zip(found, range(limit), strict=False)]
    if as_json:
        return print_json(sweeps)
    rows = [
        (
            sweep["id"],
            sweep["name"],
            " × ".join(setting["name"] for setting in sweep["over"]),
            f"{sweep['ended']} of {sweep['jobs_total']}",
            moment(sweep["created_at"]),
        )
        for sweep in sweeps
    ]
    return table(("id", "name", "over", "ended", "submitted"), rows, "no sweep")


@commands.command()
def show(
    sweep_id: SweepId,
    as_csv: Annotated[bool, typer.Option("--csv", help="The table as CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the table of a sweep."""
    with server_client() as client:
        if as_csv:
            pass_on(client.sweeps.csv(sweep_id))
            return None
        sweep = client.sweeps.get(sweep_id)
    return print_json(sweep) if as_json else _table(sweep)


@commands.command()
def cancel(sweep_id: SweepId) -> None:
    """Cancel the jobs of a sweep that have not ended."""
    with server_client() as client:
        sweep = client.sweeps.cancel(sweep_id)
    say(f"{sweep_id}: " + _counted(sweep))


@commands.command()
def delete(sweep_id: SweepId) -> None:
    """Delete a sweep whose jobs have ended, and them with their files."""
    with server_client() as client:
        client.sweeps.delete(sweep_id)


def _watched(client: Client, sweep: Sweep, as_json: bool) -> Sweep:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    out = console(stderr=as_json)
    is_live = out.is_terminal and not out.is_dumb_terminal
    said = ""
    try:
        with Progress(*columns, console=out, disable=not is_live) as bar:
            task = bar.add_task(sweep["id"], total=sweep["jobs_total"])

            def show(now: Sweep) -> None:
                nonlocal said
                line = f"{now['ended']} of {now['jobs_total']} ended: {_counted(now)}"
                if is_live:
                    bar.update(task, completed=now["ended"])
                elif line != said:  # elsewhere a line for each change
                    out.print(line, markup=False, soft_wrap=True)
                    said = line

            return client.sweeps.wait(sweep["id"], progress=show)
    except KeyboardInterrupt:
        complain(
            f"the jobs go on; `saf sweep show {sweep['id']}` shows them, `saf sweep cancel "
            f"{sweep['id']}` ends them"
        )
        raise typer.Exit(130) from None


def _table(sweep: Sweep) -> None:
    places = [setting["pointer"] for setting in sweep["over"]]
    rows = [
        (
            row["job"] or "deleted",
            told_status(row["status"], row["health"]),
            *(str(row["settings"][place]) for place in places),
            percent(row["results"]["best_accuracy"]),
            percent(row["results"]["test_accuracy"]),
            percent(row["results"]["lif_accuracy"]),
            row["error"] or row["verdict"] or "–",
            points(row["rounding_cost_points"]),
        )
        for row in sweep["rows"]
    ]
    names = [setting["name"] for setting in sweep["over"]]
    table(
        ("job", "status", *names, "best val.", "test", "LIF", "verdict", "rounding cost"),
        rows,
        "no job",
    )
    if sweep["best"]:
        samples = "validation" if sweep["best_by"] == "best_accuracy" else "test"
        say(f"best on the {samples} samples: {', '.join(sweep['best'])}")
    for group in sweep["groups"]:
        found = group["results"].get("test_accuracy")
        if found is None or group["succeeded"] < 2:
            continue
        of = one_line(", ".join(f"{value}" for value in group["settings"].values())) or "all"
        say(
            f"{of}: accuracy on the test samples {percent(found['mean'])} ± "
            f"{percent(found['deviation'])} over {group['succeeded']} seeds"
        )
    say(_counted(sweep))


def _counted(sweep: Sweep) -> str:
    return ", ".join(f"{count} {status}" for status, count in sweep["counts"].items())
