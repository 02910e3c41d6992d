"""`saf run` where typer and rich, the extra `client`, are not installed; and what either prints."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saf.cli.data.reading import HELP, settings_of
from saf.cli.offline import run_network
from saf.errors import TrainingError
from saf.printable import json_document, lines, one_line

if TYPE_CHECKING:
    from saf.lif.measure import Measured

SPLITS = ("test", "train")


def parser() -> argparse.ArgumentParser:
    """The arguments and options of `saf run`, as `saf.cli.main` has them."""
    found = argparse.ArgumentParser(
        "saf run", description="Run a downloaded network, with LIF neurons, on a data set."
    )
    found.add_argument("network", type=Path, metavar="lif.safetensors")
    found.add_argument("dataset", help="digits, or a folder or file of yours.")
    found.add_argument("--split", choices=SPLITS, default="test")
    found.add_argument("--batch-size", type=_batch_size, default=128)
    found.add_argument("--read", metavar="KEY=VALUE", action="append", default=[], help=HELP)
    found.add_argument("--json", action="store_true", help="Print JSON, for scripts.")
    return found


def main(arguments: Sequence[str]) -> None:
    """Run the command. Exit status 1 and the reason where it fails, 2 for wrong usage."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # any name is printed on any terminal
            stream.reconfigure(errors="replace")
    given = parser().parse_args(arguments)
    try:
        found = run_network(
            given.network,
            given.dataset,
            split=given.split,
            batch_size=given.batch_size,
            reading=settings_of(given.read),
        )
    except TrainingError as error:
        sys.exit(lines(f"{error}\n{error.hint}".rstrip()))
    except ValueError as error:
        sys.exit(lines(str(error)))
    except OSError as error:
        sys.exit(lines(f"{error.filename}: {error.strerror}" if error.filename else str(error)))
    if given.json:
        print(json_document(document(found), sys.stdout.encoding))
    else:
        print(lines("\n".join(described(found))))


def _batch_size(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


def described(found: Measured) -> list[str]:
    """Lines for a person."""
    return [
        f"accuracy {found.accuracy:.2%} on {found.samples} samples, firing rate "
        f"{found.firing_rate:.3f} spikes per neuron and step, "
        f"{found.samples_per_second:.0f} samples/s",
        *(f"  {one_line(layer)}: {rate:.3f}" for layer, rate in found.firing_rates.items()),
    ]


def document(found: Measured) -> dict[str, Any]:
    """For a script; without the spikes of each neuron."""
    return {key: value for key, value in vars(found).items() if key != "spikes"}
