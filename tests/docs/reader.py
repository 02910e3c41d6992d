"""A reader who does what a document says, in an empty folder, with a service at hand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import TracebackType

from tests.docs.blocks import ROOT, Block
from tests.waiting import PATIENCE

BLOCK_SECONDS = 600
ADDRESS = re.compile(r"(localhost|127\.0\.0\.1):8000")
# Every variable is exported, so that the next block has it; the folder is kept as well.
SHELL = """set -euo pipefail; set -a; cd "$READER_FOLDER"
{code}
set +eu; export READER_FOLDER="$PWD"; env -0 > "$READER_STATE"
"""


class Reader:
    """Runs the blocks of one document one after another; variables, files and the names of Python
    stay from one to the next."""

    def __init__(self, folder: Path, url: str, data_dir: Path) -> None:
        self._address = url.removeprefix("http://")
        self._folder = folder / "here"
        self._folder.mkdir()
        self._state = folder / "state"
        binaries = self._folder / ".venv" / "bin"
        binaries.mkdir(parents=True)
        entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["saf"]
        module, _, function = entry.partition(":")
        command = binaries / "saf"
        command.write_text(
            f"#!{sys.executable}\nfrom {module} import {function} as f\nf()\n", encoding="utf-8"
        )
        command.chmod(0o755)
        python = binaries / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        self._environment = {
            **os.environ,
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "SAF_URL": url,
            "SAF_DATA_DIR": str(data_dir),
            "READER_FOLDER": str(self._folder),
            "READER_STATE": str(self._state),
            "OMP_NUM_THREADS": "1",
        }
        self._python: subprocess.Popen[str] | None = None
        self._printed = folder / "python.log"

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._python is not None:
            self._python.communicate(timeout=PATIENCE)

    def run(self, block: Block) -> None:
        """Run a block. Raises AssertionError with what it printed where it fails."""
        code = ADDRESS.sub(self._address, block.code)
        if block.language == "python":
            self._run_python(block, code)
        elif block.language == "console":
            self._run_console(block, code)
        else:
            self._shell(block, code)

    def _shell(self, block: Block, code: str) -> str:
        assert shutil.which("bash")
        done = subprocess.run(
            ["bash", "-c", SHELL.replace("{code}", code)],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BLOCK_SECONDS,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"{block.place} ended with {done.returncode}\n{code}\n{said}"
        pairs = self._state.read_text().split("\0")
        self._environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        return done.stdout

    def _run_console(self, block: Block, code: str) -> None:
        """`$ command`, and below it what it prints; `…` stands for anything."""
        for part in re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            printed = " ".join(self._shell(block, command).split())
            pattern = re.escape(" ".join(shown.split())).replace("…", ".*")
            assert re.fullmatch(pattern, printed), f"{block.place}: {command}\n{printed}"

    def _run_python(self, block: Block, code: str) -> None:
        if self._python is None:
            with self._printed.open("w") as printed:
                self._python = subprocess.Popen(
                    [sys.executable, "-u", str(Path(__file__).with_name("interpreter.py"))],
                    cwd=self._environment["READER_FOLDER"],
                    env=self._environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=printed,
                    text=True,
                )
        assert self._python.stdin is not None
        assert self._python.stdout is not None
        self._python.stdin.write(json.dumps({"code": code, "place": block.place}) + "\n")
        self._python.stdin.flush()
        answer = self._python.stdout.readline()
        assert answer, f"{block.place} ended Python\n{self._printed.read_text()[-4000:]}"
        said = json.loads(answer)
        assert not said, f"{block.place}\n{code}\n{said}"
