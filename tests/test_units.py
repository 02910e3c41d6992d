"""The units of systemd that the documents show are understood by it, and start what there is."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main

from saf.cli import main

ROOT = Path(__file__).parents[1]
UNITS = sorted((ROOT / "docs" / "operating" / "systemd").iterdir())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_has_nothing_to_say_against_the_units(tmp_path: Path) -> None:
    for unit in UNITS:
        text = unit.read_text().replace("/opt/saf/.venv/bin", str(ROOT / ".venv" / "bin"))
        (tmp_path / unit.name).write_text(text)
    files = [str(tmp_path / unit.name) for unit in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "saf" in line]
    assert (done.returncode, said) == (0, [])


def test_units_start_commands_that_there_are_and_timers_have_their_services() -> None:
    names = {unit.name for unit in UNITS}
    saf: Any = typer.main.get_command(main.app)
    context = typer.Context(saf)
    for unit in UNITS:
        if unit.suffix == ".timer":
            assert unit.with_suffix(".service").name in names
            continue
        (started,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
        (command,) = re.findall(r"/opt/saf/\.venv/bin/(saf \w+|python -m worker)", started)
        if command.startswith("saf"):
            known = {
                option
                for each in saf.get_command(context, command[4:]).params
                for option in each.opts
            }
            assert set(re.findall(r" (--[\w-]+)", started)) <= known, unit.name
