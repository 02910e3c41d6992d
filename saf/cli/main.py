"""The `saf` command.

Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no server answers, 4 `saf scrub` found
something, 130 interrupted.
"""

from __future__ import annotations

import io
import json
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from saf.cli import edit, exports, imports, jobs, server, sweeps
from saf.cli import specification as specfile
from saf.cli.accounts import people, searches
from saf.cli.data import datasets, known, reading
from saf.cli.offline import begun_with, run_network, train_here
from saf.cli.outcome import accepted_with, next_steps, outcome, warnings
from saf.cli.output import AsJson, StrictOption, complain, console, print_json, say
from saf.cli.run_alone import SPLITS, described, document
from saf.cli.specification import (
    DatasetOption,
    EpochsOption,
    FreezeOption,
    MethodOption,
    NameOption,
    NetworkOption,
    PresetOption,
    SetOption,
    SpecificationError,
    SpecificationFile,
    TimestepsOption,
)
from saf.client.client import ApiError, ClientError, UnreachableError
from saf.data import BUILTIN
from saf.errors import TrainingError
from saf.imports import uncollected
from saf.networks.outline import is_lif


class Commands(TyperGroup):
    """The commands of the library, and those of the service where it is installed.

    Loading the service takes longer than most commands do, so it is loaded for its own commands and
    where all are asked for. The library's own work without it.
    """

    _all = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, None where there is none."""
        if cmd_name not in self.commands:
            self._load()
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands."""
        self._load()
        return super().list_commands(ctx)

    def _load(self) -> None:
        if self._all:
            return
        self._all = True
        for point in sorted(entry_points(group="saf.commands"), key=lambda point: point.name):
            try:
                loaded = typer.Typer()
                with uncollected():
                    loaded.add_typer(point.load())
                for name, command in get_group(loaded).commands.items():
                    self.commands.setdefault(name, command)
            except Exception as error:
                of = point.dist.name if point.dist else point.value
                complain(f"commands of {of} cannot be loaded ({point.value}): {error!r}")


app = typer.Typer(
    name="saf",
    cls=Commands,
    help="Train spiking neural networks, here or on a server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(jobs.commands)
app.add_typer(edit.commands)
datasets.datasets.add_typer(known.commands)
app.add_typer(datasets.commands)
app.add_typer(exports.commands)
app.add_typer(imports.commands)
app.add_typer(sweeps.commands, name="sweep")
app.add_typer(people.commands)
app.add_typer(searches.searches, name="searches")


@app.callback()
def common(
    url: Annotated[
        str, typer.Option("--url", help="The server; by default SAF_URL or http://127.0.0.1:8000.")
    ] = "",
    header: Annotated[
        list[str],
        typer.Option("--header", metavar="NAME:VALUE", help="Sent to the server; repeatable."),
    ] = [],  # noqa: B006
) -> None:
    """Train spiking neural networks, here or on a server. `saf login` keeps a key for a server that
    has accounts; SAF_TOKEN goes before it."""
    server.address.set(url)
    server.headers.set(server.read_headers(header))


@app.command()
def train(
    spec: SpecificationFile = None,
    preset: PresetOption = None,
    dataset: DatasetOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    name: NameOption = None,
    epochs: EpochsOption = None,
    timesteps: TimestepsOption = None,
    init: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A checkpoint, or a lif.safetensors, to take the first weights from.",
        ),
    ] = None,
    freeze: FreezeOption = [],  # noqa: B006
    set_: SetOption = [],  # noqa: B006
    read: datasets.ReadOption = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Folder for what comes out.")] = Path("trained"),
    strict: StrictOption = False,
    as_json: AsJson = False,
) -> None:
    """Train on this machine, without a server.

    Goes on from a checkpoint in the folder, also one that `saf download` put there; without any
    other setting than more epochs in all, with the specification of that.

    With --init lif.safetensors the network, the neurons, the time steps and the method are those of
    the file, unless they are given.
    """
    options = {
        "dataset": dataset,
        "network": network,
        "method": method,
        "name": name,
        "epochs": epochs,
        "timesteps": timesteps,
    }
    chosen = specfile.preset_of(preset)
    body = specfile.read(spec, options, set_, chosen)
    body.pop("automatic", None)  # of the training whose report has it: its numbers are given here
    if init is not None and init.is_file() and is_lif(init):
        body = specfile.starting_from(body, init, freeze)
    else:
        specfile.put_init(body, None if init is None else init.name, freeze)
    asked = {key for key, value in options.items() if value is not None}
    if (
        spec is None
        and chosen is None
        and not set_
        and init is None
        and not asked - {"dataset", "epochs"}
    ):
        begun = begun_with(out) or {}
        # The data set of a server is a path here.
        if dataset is None or begun.get("dataset", dataset) not in BUILTIN:
            body = begun | body
    terminal = console(stderr=as_json)
    how = {**(chosen.reading if chosen is not None else {}), **reading.settings_of(read)}
    try:
        summary = train_here(specfile.check(body), out, terminal, init_from=init, reading=how)
    except OSError as error:
        if error.filename is None and error.strerror:  # as where the disk is full
            raise OSError(error.errno, error.strerror, str(out)) from error
        raise
    if summary is None:
        complain(f"interrupted; the same command goes on from the checkpoint in {out}")
        raise typer.Exit(130)
    if as_json:
        print_json(summary)
    else:
        report = json.loads((out / "report.json").read_text())
        for line in (*warnings(summary["findings"]), *outcome(summary, report["specification"])):
            say(line)
        say(str(out / "lif.safetensors"))
        curve = [epoch["val_accuracy"] for epoch in report["epochs"] if "val_accuracy" in epoch]
        specification, findings = report["specification"], summary["findings"]
        for step in next_steps(
            *(summary, specification),
            val_accuracies=curve,
            has_findings=bool(findings),
            accepted=accepted_with(specification, report["dataset"]["samples"]),
        ):
            say(f"next: {step}")
    if strict and summary["health"] == "warning":
        raise typer.Exit(1)
    return


@app.command()
def run(
    network: Annotated[Path, typer.Argument(metavar="lif.safetensors")],
    dataset: Annotated[str, typer.Argument(help="digits, or a folder or file of yours.")],
    split: Annotated[str, typer.Option(help="test or train.")] = "test",
    batch_size: Annotated[int, typer.Option(min=1)] = 128,
    read: datasets.ReadOption = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Run a downloaded network, with LIF neurons, on a data set."""
    if split not in SPLITS:
        raise typer.BadParameter("is test or train", param_hint="--split")
    how = reading.settings_of(read)
    found = run_network(network, dataset, split=split, batch_size=batch_size, reading=how)
    if as_json:
        return print_json(document(found))
    for line in described(found):
        say(line)
    return None


def main() -> None:
    """Entry point: what goes wrong is told in words, without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # any name is printed on any terminal
            stream.reconfigure(errors="replace")
    try:
        app()
    except UnreachableError as error:
        serves = any(point.name == "serve" for point in entry_points(group="saf.commands"))
        here = "`saf serve` starts a server here; " if serves else ""
        complain(f"{error}\n{here}SAF_URL or --url names {'another' if serves else 'the server'}")
        sys.exit(3)
    except ApiError as error:
        complain(f"{error.title}: {error.detail}" if error.title else error.detail)
        if len(error.errors) > 1:
            for field in error.errors:
                complain(f"  {field['pointer']}: {field['detail']}")
        sys.exit(1)
    except SpecificationError as error:
        complain(str(error))
        for pointer, detail in error.errors:
            complain(f"  {pointer}: {detail}")
        sys.exit(1)
    except TrainingError as error:
        complain(f"{error}\n{error.hint}".rstrip())
        sys.exit(1)
    except (ClientError, ValueError) as error:
        complain(str(error))
        sys.exit(1)
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        sys.exit(1)
