"""The help of the `saf` command as Markdown, by typer's own writer."""

from __future__ import annotations

import re

import typer
from typer.cli import get_docs_for_click
from typer.main import get_command

from saf.cli.main import app


def chapter() -> str:
    """A section for each command."""
    command = get_command(app)
    found = get_docs_for_click(obj=command, ctx=typer.Context(command), name="saf")
    found = re.sub(r"^# .*\n", "", found)
    # The lists of commands are of lines that are cut off; the sections follow anyway.
    found = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+", "", found)
    found = re.sub(r"^```console\n\$ (.*)\n```$", r"    \1", found, flags=re.MULTILINE)
    found = re.sub(r"`?docs/([\w\-]+)\.md`?", r"[](project:\1.md)", found)
    return found.replace("**Usage**:\n", "").replace("'stage1*' or '*'", "`stage1*` or `*`")
