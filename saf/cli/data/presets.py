"""The files of the data set that a preset is for, on the command line."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import typer

from saf.cli.data import datasets
from saf.cli.output import complain
from saf.client.client import Client
from saf.presets import Preset


def put_dataset(client: Client, body: dict[str, Any], preset: Preset | None) -> None:
    """Where `dataset` is the path of a file or folder of this machine, which has a slash and so is
    no name, upload it as the one that `preset` is for, and name that in the specification. Exit
    status 1 where it cannot be used."""
    path = str(body.get("dataset", ""))
    if "/" not in path or not Path(path).exists():
        return
    if preset is None or not preset.dataset:
        name = Path(path).resolve().name.partition(".")[0]
        complain(
            f"{path} is a path of this machine, and a server trains on what was uploaded to it\n"
            f"saf upload {shlex.quote(path)} --name {shlex.quote(name)}, then --dataset "
            f"{shlex.quote(name)}; or train here: saf train --dataset {shlex.quote(path)}"
        )
        raise typer.Exit(1)
    with datasets.sending() as progress:
        sent = client.upload_dataset(
            path, name=preset.dataset, settings=preset.reading, progress=progress
        )
    found = client.wait_dataset(sent["id"])
    if found["status"] != "ready":
        datasets.finish(client, found, as_json=False)
    complain(f"uploaded {path} as {found['id']} ({found['name']})")
    body["dataset"] = found["id"]
