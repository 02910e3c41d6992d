"""Commands that bring networks of other tools here: `saf import`, `saf networks`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from saf.cli.data import reading
from saf.cli.output import AsJson, complain, print_json, say, table
from saf.config.incoming import Reading, reading_of
from saf.cores import prepare_threads

commands = typer.Typer()
networks = typer.Typer(help="Networks of a server that jobs can start from: list, upload, delete.")
commands.add_typer(networks, name="networks")
ReadingOption = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="What the file does not say: reader=sinabs, dt=0.001, reset=subtract, timesteps=16, "
        'shape=1,28,28, network=\'{"name": "mlp"}\', …; repeatable.',
    ),
]


@commands.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="An NIR file, or weights of a ReLU network."),
    ],
    out: Annotated[Path, typer.Option(help="Where the network is written.")] = Path(
        "lif.safetensors"
    ),
    samples: Annotated[
        str,
        typer.Option(help="Data set that thresholds of weights are balanced with: digits, a path."),
    ] = "",
    set_: ReadingOption = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Make a lif.safetensors of a network of another tool, and say what was assumed of it.

    The weights of a ReLU network (a safetensors file) become those of integrate-and-fire neurons.
    """
    from saf.cli.offline import dataset_of

    said = _reading(set_)
    data = dataset_of(samples) if samples else None
    prepare_threads(os.environ)
    from saf.lif.incoming.reading import read_network

    try:
        found = read_network(file, said, data, samples)
    except ModuleNotFoundError as error:
        complain(f"{error}: pip install 'saf-snn[export]'")
        raise typer.Exit(1) from error
    found.network.save(out)
    if as_json:
        kind = {"source": found.source, "assumptions": list(found.assumptions), "file": str(out)}
        return print_json(kind)
    say(repr(found.network))
    for each in found.assumptions:
        say(f"  {each}")
    say(str(out))
    say(f"next: saf train --init {out} --dataset DATA")
    return None


def _reading(pairs: list[str]) -> Reading:
    try:
        return reading_of(reading.settings_of(pairs))
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        said = f"{'.'.join(map(str, found['loc']))}: {found['msg']}"
        raise typer.BadParameter(said, param_hint="--set") from error
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--set") from error


@networks.callback(invoke_without_command=True)
def list_networks(context: typer.Context, as_json: AsJson = False) -> None:
    """List the uploaded networks."""
    if context.invoked_subcommand is not None:
        return None
    from saf.cli.server import server_client

    with server_client() as client:
        found = list(client.uploaded_networks())
    if as_json:
        return print_json(found)
    rows = [
        (each["id"], each["name"], each["source"], " × ".join(map(str, each["shape"])))
        for each in found
    ]
    table(("id", "name", "from", "sample"), rows, "no uploaded network")
    return None


@networks.command()
def upload(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A lif.safetensors, an NIR file, or weights of a ReLU network."
        ),
    ],
    name: Annotated[str, typer.Option(help="By default the file's.")] = "",
    dataset: Annotated[
        str, typer.Option(help="Weights: the data set that thresholds are balanced with.")
    ] = "",
    set_: ReadingOption = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Upload a network that jobs can start from, and say what was assumed of it."""
    from saf.cli.server import server_client

    said = reading.settings_of(set_)
    with server_client() as client:
        found = client.upload_network(file, name=name, dataset=dataset, **said)
    if as_json:
        return print_json(found)
    say(found["id"])
    for each in found["assumptions"]:
        say(f"  {each}")
    say(f"next: saf submit --init-network {found['id']} --dataset DATA")
    return None


@networks.command()
def delete(network: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Delete an uploaded network; jobs that start from it keep its file until they have ended."""
    from saf.cli.server import server_client

    with server_client() as client:
        client.delete_network(network)
