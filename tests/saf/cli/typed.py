"""The `saf` command in the process of the tests: one of its own loads Python's modules, and for a
training torch, for one to three seconds each time. Pipes, signals and what a command does at once
with another need one all the same."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from saf.cli import main as cli


def saf(*arguments: str, url: str = "http://127.0.0.1:9") -> subprocess.CompletedProcess[str]:
    """Do what these arguments say. What is printed goes into files, so nothing is a terminal."""
    command = ["saf", "--url", url, *arguments]
    files = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    status: str | int | None = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command)
        patch.setattr(sys, "stdout", files[0])
        patch.setattr(sys, "stderr", files[1])
        try:
            cli.main()
        except SystemExit as ended:
            status = ended.code
    if isinstance(status, str):
        files[1].write(f"{status}\n")
        status = 1
    for file in files:
        file.seek(0)
    out, err = (file.read() for file in files)
    return subprocess.CompletedProcess(command, status or 0, out, err)
