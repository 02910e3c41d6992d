"""Commands that carry networks to other tools: `saf export`, `saf targets`, `saf verify`,
`saf readers`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from saf.cli.data import reading
from saf.cli.output import AsJson, complain, console, print_json, say, table
from saf.config.targets import TARGETS, CannotExportError, Target, target_of
from saf.cores import prepare_threads
from saf.printable import one_line
from saf.registry import name_of

commands = typer.Typer()
readers = typer.Typer(help="Python environments that exports to NIR are replayed in.")
commands.add_typer(readers, name="readers")
JOB = re.compile(r"job_[0-9a-z]+")


@commands.command()
def export(
    network: Annotated[
        Path,
        typer.Argument(
            metavar="NETWORK", help="A lif.safetensors, or the id of a job on the server."
        ),
    ],
    target: Annotated[str, typer.Argument(help="`saf targets` lists them.")],
    samples: Annotated[
        str,
        typer.Option(
            help="Data set whose test samples are replayed: digits, or a path; those of a job are "
            "of its own."
        ),
    ] = "",
    count: Annotated[int, typer.Option(min=1, help="At most so many of them.")] = 1000,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder; by default `export-TARGET` beside the network, of a job in `JOB`."
        ),
    ] = None,
    set_: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Settings of the target.")
    ] = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Write a network for another tool, run it there, and certify what came out.

    Of a job, a worker of the service does it, and the files are brought here. Exit status 1 where
    the target cannot express the network, or makes another one of it.
    """
    options: dict[str, Any] = dict(reading.settings_of(set_))
    if JOB.fullmatch(str(network)) and not network.is_file():  # its folder may be here
        return _of_job(str(network), target, count, samples, options, out, as_json)
    from saf.cli.offline import dataset_of

    data = dataset_of(samples) if samples else None
    prepare_threads(os.environ)
    from saf.lif.certificate import spread
    from saf.lif.exporting import Export, exported
    from saf.lif.network import load_lif
    from saf.training.batches import identity

    if target not in TARGETS:
        raise typer.BadParameter(f"is one of {', '.join(TARGETS.names())}", param_hint="TARGET")
    x = y = lengths = digest = None
    if data is not None:
        digest = identity(data.x_train, data.y_train, data.lengths_train)
        rows = spread(len(data.y_test), count).numpy()
        x, y = data.x_test[rows], data.y_test[rows]
        lengths = None if data.lengths_test is None else data.lengths_test[rows]
    directory = out or network.parent / f"export-{target}"
    done: Any = None
    try:
        with console(stderr=True).status(f"writing for {target}") as status:
            for done in exported(
                load_lif(network),
                _chosen(target, options),
                directory,
                x,
                y,
                lengths,
                unit=255 if data is None else data.unit,
                dataset_sha256=digest,
            ):
                if not isinstance(done, Export):
                    status.update(f"replayed {done.samples} of {done.total} samples")
    except CannotExportError as error:
        complain(f"{target} cannot express {network}:")
        for obstacle in error.obstacles:
            complain(f"  {obstacle}")
        raise typer.Exit(1) from error
    except ModuleNotFoundError as error:
        complain(str(error))
        raise typer.Exit(1) from error
    _tell(done.certificate, [directory / file for file in done.files], as_json)
    if data is None and not as_json:
        say("next: --samples DATA replays it on held-out samples")
    if done.verdict == "differs":
        raise typer.Exit(1)
    return None


def _chosen(target: str, options: dict[str, Any]) -> Target:
    try:
        return target_of(target, options)
    except ValidationError as error:
        known = [name for name in TARGETS[target].model_fields if name != "name"]
        has = f"{target} has {', '.join(known)}" if known else f"{target} has none"
        found = error.errors(include_url=False)[0]
        said = f"{'.'.join(map(str, found['loc']))}: {found['msg']}; {has}"
        raise typer.BadParameter(said, param_hint="--set") from error


def _tell(certificate: dict[str, Any], files: list[Path], as_json: bool) -> None:
    if as_json:
        return print_json(certificate)
    say(certificate["statement"])
    for file in files:
        say(str(file))
    return None


def _of_job(
    job_id: str,
    target: str,
    count: int,
    samples: str,
    options: dict[str, Any],
    out: Path | None,
    as_json: bool,
) -> None:
    from saf.cli.server import server_client

    if samples:
        raise typer.BadParameter("those of a job are of its own data set", param_hint="--samples")
    with server_client() as client:
        export = client.export(job_id, target, samples=count, **options)
        with console(stderr=True).status(f"{target}: {export.said}") as status:
            export.wait(on_change=lambda said: status.update(f"{target}: {one_line(said)}"))
        if export["status"] == "failed":
            complain(f"{export['error']['message']}; {export['error']['hint']}")
            raise typer.Exit(1)
        files = export.download(out or Path(job_id, f"export-{target}"))
    _tell(export["certificate"], files, as_json)
    if export["verdict"] == "differs":
        raise typer.Exit(1)


@commands.command()
def targets(
    network: Annotated[
        Path | None, typer.Argument(metavar="[lif.safetensors]", help="Ask for this network.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what a network can be exported to; with a network, what stands in the way."""
    obstacles: dict[str, list[str]] = {}
    if network is not None:
        if network.is_dir():  # as `saf download` leaves it
            network = network / "lif.safetensors"
        if not network.exists() and network.name.startswith("job_"):
            complain(f"there is no file {network}; of a job, download its network first:")
            complain(
                f"saf download {network.name} lif.safetensors, then saf targets {network.name}"
            )
            raise typer.Exit(1)
        prepare_threads(os.environ)
        from saf.lif.exporting import check
        from saf.lif.network import load_lif

        loaded = load_lif(network)
        obstacles = {
            name_of(kind): list(map(str, check(loaded, name_of(kind)))) for kind in TARGETS
        }
    found = [
        {
            "name": name_of(kind),
            "label": kind.label,
            "description": " ".join((kind.__doc__ or "").split()),
            "can": list(kind.can),
            "cannot": list(kind.cannot),
            "missing": kind.missing((*kind.packages, *kind.readers)),
            **({"obstacles": obstacles[name_of(kind)]} if network is not None else {}),
        }
        for kind in TARGETS
    ]
    if as_json:
        return print_json(found)
    for each in found:
        say(f"{each['name']}: {each['description']}")
        if each["missing"]:
            say(f"  needs {', '.join(each['missing'])}")
        for obstacle in each.get("obstacles", []):
            say(f"  cannot: {obstacle}")
    return None


@commands.command()
def verify(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A network, a certificate, or an export beside its own."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Say which network a file found on a disk is of, and whether the files beside it are whole.

    Exit status 1 where something is missing or was changed.
    """
    from saf.lif.verifying import verify as verified

    found = verified(file)
    if as_json:
        print_json({"kind": found.kind, "says": found.says, "problems": found.problems})
    else:
        say(found.kind)
        for line in found.says:
            say(f"  {line}")
        for problem in found.problems:
            complain(problem)
    if found.problems:
        raise typer.Exit(1)


@readers.callback(invoke_without_command=True)
def list_readers(context: typer.Context, as_json: AsJson = False) -> None:
    """List the environments of readers, and where each lies if it is made."""
    from saf.lif.export.nir.environments import ENVIRONMENTS

    if context.invoked_subcommand is not None:
        return None
    found = [
        {
            "name": each.name,
            "has": each.has,
            "python": None if each.python is None else str(each.python),
            "requirements": each.requirements,
        }
        for each in ENVIRONMENTS
    ]
    if as_json:
        return print_json(found)
    rows = [(str(each["name"]), str(each["has"]), str(each["python"] or "-")) for each in found]
    table(("name", "for", "made"), rows, "none")
    return None


@readers.command()
def install(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="By default all of them.")
    ] = None,
) -> None:
    """Make environments of readers that are not made yet; exports find them from then on."""
    from saf.config.targets import NoReaderError
    from saf.lif.export.nir.environments import ENVIRONMENTS, make

    known = {each.name: each for each in ENVIRONMENTS}
    if unknown := [name for name in names or () if name not in known]:
        raise typer.BadParameter(f"{unknown[0]} is none of {', '.join(known)}", param_hint="NAME")
    for name in names or known:
        try:
            say(str(make(known[name], complain)))
        except NoReaderError as error:
            complain(str(error))
            raise typer.Exit(1) from error
