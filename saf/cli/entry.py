"""The entry point of `saf`: all commands, or `saf run` alone without the extra `client`."""

from __future__ import annotations

import sys

from saf import extras
from saf.imports import uncollected


def main() -> None:
    """Run a command. Exit status 1 and one line for a command that needs the extra `client`."""
    try:
        with uncollected():
            from saf.cli.main import main as all_commands
    except ModuleNotFoundError as error:
        if not extras.is_missing("client", error):
            raise
        if sys.argv[1:2] != ["run"]:
            sys.exit(f"only `saf run` works without the extra client: {extras.remedy('client')}")
        from saf.cli.run_alone import main as run_alone

        run_alone(sys.argv[2:])
    else:
        all_commands()
