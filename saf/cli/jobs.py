"""The commands of `saf` that talk to a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from saf.cli import specification as specfile
from saf.cli.outcome import next_steps, outcome, warnings
from saf.cli.output import (
    AsJson,
    StrictOption,
    complain,
    console,
    moment,
    pass_on,
    percent,
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
from saf.client.client import ApiError, Client
from saf.client.job import Job
from saf.client.progress import TrainingBar, moment_of
from saf.client.types import Artifact, JobProgress
from saf.printable import one_line
from saf.sizes import readable

commands = typer.Typer()
MOST_EPOCHS = 5000  # points of validation accuracy that are asked for; of more, so many
TagOption = Annotated[list[str], typer.Option("--tag", help="Only with this tag; repeatable.")]
FavouriteOption = Annotated[bool, typer.Option("--favourite", help="Only favourites.")]
MineOption = Annotated[bool, typer.Option("--mine", help="Only yours.")]
ProjectOption = Annotated[str, typer.Option("--project", help="Only of the project of this name.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]


@commands.command()
def submit(
    spec: SpecificationFile = None,
    preset: PresetOption = None,
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
    dry: Annotated[bool, typer.Option("--dry", help="Only say what the job would need.")] = False,
    watch_: Annotated[
        bool, typer.Option("--watch/--no-watch", help="Show it until it has ended.")
    ] = False,
    strict: StrictOption = False,
    as_json: AsJson = False,
) -> None:
    """Submit a job.

    With --preset of a data set that you have the files of, --dataset may be the path of their
    folder, with a slash (./shd): it is uploaded first, also with --dry, and read as the preset
    says.
    """
    from saf.cli.data.presets import put_dataset

    chosen = specfile.preset_of(preset)
    body = specfile.read(
        spec,
        {
            "dataset": dataset,
            "network": network,
            "method": method,
            "name": name,
            "epochs": epochs,
            "timesteps": timesteps,
        },
        set_,
        chosen,
    )
    specfile.put_init(body, init, freeze, network=init_network)
    with server_client() as client:
        put_dataset(client, body, chosen)
        upload_init(client, body, init_network)
        if dry:
            found = client.validate(body)
            if as_json:
                return print_json(found)
            asked = found["specification"]
            say(f"network {asked['network']['name']}, method {asked['method']['name']}")
            for setting in found["automatic"]:
                say(f"{setting['pointer']}: {json.dumps(setting['value'])} (auto)")
            say(
                f"{found['parameters']} parameters, {found['neurons']} neurons, about "
                f"{readable(found['memory_forecast_bytes'])} of memory"
            )
            for warning in found["warnings"]:
                say(f"{warning['pointer']}: {warning['detail']}")
            return None
        _tell(client, client.submit(body), watch_, as_json, strict)
    return None


@commands.command()
def watch(job_id: JobId, strict: StrictOption = False, as_json: AsJson = False) -> None:
    """Show a job live until it has ended, and what came out; exit status 0 if it succeeded."""
    with server_client() as client:
        _watch(client, job_id, as_json, strict)


@commands.command(name="list")
def list_(
    status: Annotated[list[str], typer.Option(help="Only these; repeatable.")] = [],  # noqa: B006
    health: Annotated[
        list[str], typer.Option(help="Only ok, warning or failed ones; repeatable.")
    ] = [],  # noqa: B006
    method: Annotated[str, typer.Option()] = "",
    dataset: Annotated[str, typer.Option()] = "",
    tag: TagOption = [],  # noqa: B006
    favourite: FavouriteOption = False,
    search: Annotated[str, typer.Option(help="Words in the name or id, in any order.")] = "",
    mine: MineOption = False,
    project: ProjectOption = "",
    saved: Annotated[str, typer.Option(help="What this saved search finds.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with server_client() as client:
        found = client.jobs(
            status=status,
            health=health,
            method=method,
            dataset=dataset,
            q=search,
            tags=tag,
            favourite=True if favourite else None,
            mine=mine,
            project=project,
            saved=saved,
            page=min(limit, 200),
        )
        jobs = [job for job, _ in zip(found, range(limit), strict=False)]
    if as_json:
        return print_json(jobs)
    rows = [
        (
            job["id"],
            job["name"],
            told_status(job["status"], job["health"]),
            str(job["specification"]["method"]["name"]),
            str(job["specification"]["dataset"]),
            f"{job['progress']['fraction']:.0%}",
            percent(job["best_accuracy"]),
            percent(job["lif_accuracy"]),
            job["verdict"] or "–",
            moment(job["created_at"]),
        )
        for job in jobs
    ]
    head = ("id", "name", "status", "method", "data set", "done", "best val.")
    return table((*head, "LIF", "verdict", "submitted"), rows, "no job")


@commands.command()
def show(job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job and its files."""
    with server_client() as client:
        job = client.get(job_id)
        if as_json:
            return print_json(job)
        artifacts = client.artifacts(job_id)
        _describe(client, job)
    rows = [(a["name"], a["kind"], readable(a["bytes"]), a["sha256"][:16]) for a in artifacts]
    return table(("file", "kind", "size", "sha256"), rows, "")


@commands.command()
def logs(job_id: JobId, tail: Annotated[int | None, typer.Option(min=0)] = None) -> None:
    """Print what a job printed."""
    with server_client() as client:
        pass_on(client.logs(job_id, tail=tail))


@commands.command()
def cancel(job_id: JobId) -> None:
    """Cancel a job."""
    _ask("cancel", job_id)


@commands.command()
def pause(job_id: JobId) -> None:
    """Let a job write a checkpoint and free its device."""
    _ask("pause", job_id)


@commands.command()
def resume(job_id: JobId) -> None:
    """Let a paused job go on."""
    _ask("resume", job_id)


@commands.command()
def retry(job_id: JobId) -> None:
    """Submit a failed or cancelled job again."""
    _ask("retry", job_id)


@commands.command(name="continue")
def continue_(
    job_id: JobId,
    epochs: Annotated[int, typer.Option(min=1, help="So many more.")],
    learning_rate: Annotated[
        float | None, typer.Option(help="The largest one of the further epochs.")
    ] = None,
    patience: Annotated[int | None, typer.Option(min=1, help="Ends after so many in vain.")] = None,
    name: NameOption = None,
    watch_: Annotated[bool, typer.Option("--watch", help="Show it until it has ended.")] = False,
    strict: StrictOption = False,
    as_json: AsJson = False,
) -> None:
    """Train a job that has succeeded for more epochs; makes a new job."""
    changes = {"learning_rate": learning_rate, "patience": patience, "name": name}
    given: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
    with server_client() as client:
        _tell(client, client.continue_job(job_id, epochs=epochs, **given), watch_, as_json, strict)


@commands.command()
def delete(job_id: JobId) -> None:
    """Delete a job that has ended, and its files."""
    with server_client() as client:
        client.delete(job_id)


@commands.command()
def download(
    job_id: JobId,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]...", help="By default all of them.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Folder.", show_default="./JOB")] = None,
) -> None:
    """Download the files of a job; goes on where an earlier try stopped, and verifies them."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    out = console(stderr=True)
    with (
        server_client() as client,
        Progress(*columns, console=out, disable=not out.is_terminal) as bar,
    ):
        tasks: dict[str, Any] = {}

        def report(artifact: Artifact, count: int) -> None:
            if artifact["id"] not in tasks:
                name = one_line(artifact["name"])
                tasks[artifact["id"]] = bar.add_task(name, total=artifact["bytes"])
            bar.update(tasks[artifact["id"]], completed=count)

        paths = client.download(job_id, to or Path(job_id), names or (), report=report)
    for path in paths:
        say(f"{path}  checksum verified")


def watched(client: Client, job_id: str, bar: TrainingBar) -> Job:
    """The job once it has ended, shown live until then."""

    def show(job: JobProgress) -> None:
        bar.show(moment_of(job))

    job = client.wait(job_id, progress=show)
    bar.show(moment_of(job))
    return job


def upload_init(client: Client, body: dict[str, Any], file: str | None) -> None:
    """Upload the file of `--init-network`, unless it is the id of a network, and put its id into
    the specification."""
    if file is not None and not file.startswith("net_"):
        body["init"]["network"] = client.upload_network(file)["id"]
        complain(f"uploaded {file} as {body['init']['network']}")


def _tell(client: Client, job: Job, watch: bool, as_json: bool, strict: bool) -> None:
    """Say which job was made, and show it where that is asked for."""
    if as_json and not watch:
        return print_json(job)
    if not as_json:
        say(f"{job['id']}  {client.address(job['urls']['page'])}")
    if watch:
        _watch(client, job["id"], as_json, strict)
    return None


def _watch(client: Client, job_id: str, as_json: bool, strict: bool) -> None:
    client.get(job_id)  # an id that does not exist is told before anything is shown
    out = console(stderr=as_json)
    try:
        with TrainingBar(out, job_id) as bar:
            job = watched(client, job_id, bar)
    except KeyboardInterrupt:
        complain(f"the job goes on; `saf watch {job_id}` shows it, `saf cancel {job_id}` ends it")
        raise typer.Exit(130) from None
    if as_json:
        print_json(job)
    else:
        _describe(client, job)
        for step in next_steps_of(client, job):
            say(f"next: {step}")
    if job["status"] != "succeeded" or (strict and job["health"] == "warning"):
        raise typer.Exit(1)


def next_steps_of(client: Client, job: Job) -> list[str]:
    """Next steps after a job that succeeded."""
    if job["result"] is None:
        return []
    found = client.metrics(job["id"], names=["val_accuracy"], max_points=MOST_EPOCHS)
    points = found["series"][0]["points"] if found["series"] else []

    def accepted(change: Mapping[str, Any]) -> bool:
        try:
            client.validate({**job["specification"], **change})
        except ApiError as error:
            return error.status not in (404, 422)
        return True

    return next_steps(
        job["result"],
        job["specification"],
        val_accuracies=[value for _, value in points if value is not None],
        has_findings=bool(job["findings"]),
        job_id=job["id"],
        accepted=accepted,
    )


def _ask(what: str, job_id: str) -> None:
    with server_client() as client:
        job: Job = getattr(client, what)(job_id)
        say(f"{job['id']} is {job['status']}")


def _describe(client: Client, job: Job) -> None:
    specification = job["specification"]
    say(one_line(f"{job['id']}  {job['name']}".rstrip()))
    say(
        f"{told_status(job['status'], job['health'])}  "
        f"{specification['method']['name']} on {specification['dataset']}, "
        f"{specification['network']['name']}, T = {specification['timesteps']}, "
        f"{job['parameters']} parameters"
    )
    remarks = ["★"] * job["favourite"] + [f"tags: {', '.join(job['tags'])}"] * bool(job["tags"])
    if remarks:
        say(one_line("  ".join(remarks)))
    progress = job["progress"]
    say(
        f"step {progress['step']} of {progress['steps_total'] or '?'}, attempt {job['attempt']}"
        + (
            f", best validation accuracy {percent(job['best_accuracy'])}"
            if job["best_accuracy"]
            else ""
        )
        + (f" on {job['device']}" if job["device"] else "")
    )
    if job["result"] is not None:
        for line in (*warnings(job["findings"]), *outcome(job["result"], job["specification"])):
            say(line)
    if job["error"]:
        say(f"{job['error']['code']}: {job['error']['message']}\n{job['error']['hint']}")
    say(client.address(job["urls"]["page"]))
