"""The commands of `saf` about data sets of a server: list, upload, answer, delete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from saf.cli.data import reading
from saf.cli.jobs import FavouriteOption, MineOption, ProjectOption, TagOption
from saf.cli.output import AsJson, complain, console, print_json, say, table
from saf.cli.server import server_client
from saf.client.client import ApiError, Client
from saf.client.documents import Dataset
from saf.data.formats.settings import SHARED

commands = typer.Typer()
datasets = typer.Typer(help="Data sets that a job can name: list, upload, answer, delete.")
commands.add_typer(datasets, name="datasets")

PathArgument = Annotated[Path, typer.Argument(help="A file, an archive or a folder.")]
NamedOption = Annotated[str, typer.Option("--name", help="By default the file's.")]
FormatOption = Annotated[
    str, typer.Option("--format", help="auto, image-folder, idx, cifar-python, npz, …")
]
LayoutOption = Annotated[str, typer.Option("--layout", help=SHARED["layout"])]
RangeOption = Annotated[str, typer.Option("--value-range", help=SHARED["value_range"])]
SizeOption = Annotated[str, typer.Option("--size", help=SHARED["size"])]
LabelsOption = Annotated[str, typer.Option("--labels-from", help=SHARED["labels_from"])]
SplitOption = Annotated[str, typer.Option("--split", help=SHARED["split"])]
DamagedOption = Annotated[str, typer.Option("--on-damaged", help=SHARED["on_damaged"])]
ReadOption = Annotated[list[str], typer.Option("--read", metavar="KEY=VALUE", help=reading.HELP)]


@datasets.callback(invoke_without_command=True)
def list_datasets(
    context: typer.Context,
    tag: TagOption = [],  # noqa: B006
    favourite: FavouriteOption = False,
    mine: MineOption = False,
    project: ProjectOption = "",
    as_json: AsJson = False,
) -> None:
    """List the data sets that a job can name; with an option those that were uploaded."""
    if context.invoked_subcommand is not None:
        return
    with server_client() as client:
        found = list(
            client.datasets(
                tags=tag, favourite=True if favourite else None, mine=mine, project=project
            )
        )
    if as_json:
        print_json(found)
        return
    rows = [(entry["id"], entry["name"], entry["status"], _line(entry)) for entry in found]
    table(("id", "name", "status", "content"), rows, "no data set")
    for entry in found:
        _say_findings(entry)


@datasets.command()
@commands.command()
def upload(
    path: PathArgument,
    name: NamedOption = "",
    format: FormatOption = "auto",
    layout: LayoutOption = "",
    value_range: RangeOption = "",
    size: SizeOption = "",
    labels_from: LabelsOption = "",
    split: SplitOption = "",
    on_damaged: DamagedOption = "",
    read: ReadOption = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Upload a data set and wait until it is checked; asks where it can be read in several ways."""
    settings = reading.settings_of(
        read,
        layout=layout,
        value_range=value_range,
        size=size,
        labels_from=labels_from,
        split=split,
        on_damaged=on_damaged,
    )
    with server_client() as client:
        with sending() as progress:
            sent = client.upload_dataset(
                path, name=name, format=format, settings=settings, progress=progress
            )
        finish(client, client.wait_dataset(sent["id"]), as_json)


@datasets.command()
def register(
    name: Annotated[str, typer.Argument(help="Of the data set.")],
    path: Annotated[str, typer.Argument(help="A folder or file on the server's machine.")],
    format: FormatOption = "auto",
    read: ReadOption = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Make a data set of a folder of the server, below those in its SAF_DATASET_FOLDERS."""
    settings = reading.settings_of(read)
    with server_client() as client:
        made = client.register_dataset(path, name=name, format=format, settings=settings)
        finish(client, client.wait_dataset(made["id"]), as_json)


@datasets.command()
def answer(
    dataset: Annotated[str, typer.Argument(help="Name or id.")],
    format: FormatOption = "",
    layout: LayoutOption = "",
    value_range: RangeOption = "",
    size: SizeOption = "",
    labels_from: LabelsOption = "",
    split: SplitOption = "",
    on_damaged: DamagedOption = "",
    read: ReadOption = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Say how an upload is to be read that can be read in several ways; asks without options."""
    settings = reading.settings_of(
        read,
        format=format,
        layout=layout,
        value_range=value_range,
        size=size,
        labels_from=labels_from,
        split=split,
        on_damaged=on_damaged,
    )
    with server_client() as client:
        found = client.dataset(dataset)
        if settings:
            found = client.wait_dataset(client.answer_dataset(found["id"], **settings)["id"])
        finish(client, found, as_json)


@datasets.command()
def delete(
    dataset: Annotated[str, typer.Argument(help="Name or id.")],
) -> None:
    """Delete an upload that no unfinished job needs."""
    with server_client() as client:
        client.delete_dataset(dataset)


@contextmanager
def sending() -> Iterator[Callable[[int, int], None]]:
    """A bar of what has arrived, beside the output."""
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), DownloadColumn()),
        *(TransferSpeedColumn(), TimeRemainingColumn()),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task: TaskID | None = None

        def show(arrived: int, total: int) -> None:
            nonlocal task
            if task is None:
                task = bar.add_task("sent", total=total, completed=arrived)
            bar.update(task, completed=arrived)

        yield show


def finish(client: Client, dataset: Dataset, as_json: bool) -> None:
    """Ask what is to be asked and say what came out; exit status 1 unless it can be used."""
    while dataset["status"] == "needs_choice" and not as_json and reading.is_terminal():
        dataset = _asked(client, dataset)
    if as_json:
        print_json(dataset)
    elif dataset["status"] == "ready":
        say(f"{dataset['id']}  {_line(dataset)}")
        for decision in dataset.get("decisions") or []:
            if decision["value"].startswith("left out: "):  # of tables and arrays; files: skipped
                complain(f"{dataset['name']}: {decision['value']} ({decision['why']})")
        _say_findings(dataset)
    elif dataset["status"] == "needs_choice":
        complain(f"{dataset['name']} can be read in more than one way.")
        for line in reading.options_for(dataset["questions"], reading.of_upload):
            complain(line)
        complain(
            f"Add one to `saf datasets answer {dataset['id']}`, which asks in a terminal, or see "
            f"how the samples look at {client.address(dataset['urls']['page'])}"
        )
    if dataset["status"] != "ready":
        for problem in dataset["problems"]:
            complain(f"{problem['message']}\n{problem['hint']}")
        raise typer.Exit(1)


def _asked(client: Client, dataset: Dataset) -> Dataset:
    """The data set after somebody has chosen; an answer that does not fit may be followed by
    another one."""
    for problem in dataset["problems"]:
        complain(f"{problem['message']}\n{problem['hint']}")
    page = client.address(dataset["urls"]["page"])
    shown = [
        {**question, "candidates": [{**each, "picture": ""} for each in question["candidates"]]}
        for question in dataset["questions"]
    ]
    title = f"{dataset['name']} can be read in more than one way; {page} shows how it looks."
    answers = reading.ask(title, shown)
    try:
        return client.wait_dataset(client.answer_dataset(dataset["id"], **answers)["id"])
    except ApiError as error:
        if error.status != 422:
            raise
        complain(error.detail)
        return Dataset(client.dataset(dataset["id"]), problems=[])


def _say_findings(dataset: Dataset) -> None:
    for finding in dataset.get("findings") or []:
        complain(f"{dataset['name']}: {finding['message']}. {finding['hint']}")
    skipped = dataset.get("skipped") or {"count": 0}
    if skipped["count"]:
        files = "file was" if skipped["count"] == 1 else "files were"
        complain(f"{dataset['name']}: {skipped['count']} {files} left out")
        for file in skipped["files"]:
            complain(f"  {file}")


def _line(dataset: Dataset) -> str:
    if dataset["shape"] is None or dataset["counts"] is None:
        return "; ".join(problem["message"] for problem in dataset["problems"])
    counts, what = dataset["counts"], "samples"
    shape = " × ".join(map(str, dataset["shape"]))
    if steps := dataset.get("timesteps"):
        shape = f"{steps} frames of {shape}"
    elif dataset["shape"][1:] == [1, 1]:
        shape = f"{dataset['shape'][0]} feature{'s' if dataset['shape'][0] != 1 else ''}"
    if dataset.get("kind") == "series":
        what, channels = "series", dataset["shape"][0]
        shape = f"{steps} time steps of {channels} channel{'s' if channels != 1 else ''}"
    val = f" and {counts['val']} for validation" if counts.get("val") else ""
    return (
        f"{counts['train']} + {counts['test']} {what}{val} of {shape}, {dataset['classes']} classes"
    )
