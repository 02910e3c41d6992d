"""Python environments that have the readers of NIR, made once where the readers are not here.

Readers ask for other versions of torch than ours, or for JAX, or for packages that run installers;
so they live in environments of their own, below `SAF_READERS` (by default the user's cache), each
of pinned packages alone. `saf readers install` makes them; a worker makes one when the first export
needs it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import site
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from importlib.resources import files
from pathlib import Path

from saf.config.targets import NoReaderError

INTERPRETER = "SAF_EXPORT_PYTHON"
PLACE = "SAF_READERS"
MAKES = "SAF_READERS_INSTALL"
"""Whether a replay makes the environment that it misses: `1`, which workers set."""
ASKED_SECONDS, MAKING_SECONDS = 120, 1500
WHOLE = "made.json"
_VERSIONS = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Environment:
    """A Python with pinned packages, without what these ask for beside."""

    name: str
    has: str
    """What it is for, in words."""
    beside: bool
    """Whether it sees the packages of this Python, torch among them."""

    @property
    def requirements(self) -> list[str]:
        """What is installed, each with its version."""
        text = (files("saf.lif.export.templates") / f"readers_{self.name}.txt").read_text("utf-8")
        return [line for line in text.split("\n") if line and not line.startswith("#")]

    @property
    def folder(self) -> Path:
        """Where it lies, if it is made: other packages, or another Python, are another folder."""
        here = [sys.version, *(_packages_here() if self.beside else ())]
        digest = hashlib.sha256("\n".join([*self.requirements, *here]).encode()).hexdigest()
        return place() / f"{self.name}-{digest[:12]}"

    @property
    def python(self) -> Path | None:
        """Its interpreter; None where it is not made."""
        return self.folder / "bin/python" if (self.folder / WHOLE).exists() else None


TOGETHER = Environment(
    "together", "Norse, sinabs, snnTorch, SpikingJelly and Rockpool beside the torch of saf", True
)
SPYX = Environment("spyx", "Spyx with JAX", False)
ENVIRONMENTS = (TOGETHER, SPYX)


def place() -> Path:
    """The folder of all environments."""
    if named := os.environ.get(PLACE):
        return Path(named).expanduser().resolve()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "saf" / "readers"


def is_elsewhere(environment: Environment) -> bool:
    """Whether another Python is to have the readers: the one that is named, or the one that was
    made."""
    return bool(os.environ.get(INTERPRETER)) or environment.python is not None


def interpreter_for(names: list[str], environment: Environment) -> tuple[str, dict[str, str]]:
    """A Python that has all of these packages, and their versions there: this one, the one that
    `SAF_EXPORT_PYTHON` names, or the one of `environment`. Raises NoReaderError."""
    here = _here(names)
    if len(here) == len(names):
        return sys.executable, here
    reason = f"{' '.join(name for name in names if name not in here)} is not installed here"
    if python := os.environ.get(INTERPRETER, ""):
        try:
            return python, _there(python, names)
        except NoReaderError as error:
            reason = str(error)
    made = environment.python
    if made is None and os.environ.get(MAKES) == "1":
        made = make(environment, lambda line: print(line, file=sys.stderr, flush=True))
    if made is not None:
        return str(made), _there(str(made), names)
    raise NoReaderError(
        f"{reason}; `saf readers install {environment.name}` makes a Python that has it, or "
        f"name one by {INTERPRETER}"
    )


def make(environment: Environment, report: Callable[[str], None]) -> Path:
    """Make an environment, or wait while another process makes it; its interpreter. Raises
    NoReaderError, which says what to run where there is a network, and leaves a log."""
    with _turn(environment) as lock:
        if (found := environment.python) is not None:
            return found
        folder = environment.folder
        log = folder.with_suffix(".log")
        count = len(environment.requirements)
        report(f"making an environment for {environment.has}: {count} packages, once, in {folder}")
        began = time.monotonic()
        try:
            # -P, -I: not the modules of the folder that this runs in.
            venv = [sys.executable, "-P", "-m", "venv", "--clear", "--without-pip"]
            _run([*venv, str(folder)], log, lock, fresh=True)
            python = folder / "bin/python"
            if environment.beside:
                own = _said(
                    [str(python), "-I", "-c", "import site; print(site.getsitepackages()[0])"]
                )
                lines = "".join(f"{each}\n" for each in _packages_here())
                Path(own, "of-saf.pth").write_text(lines, encoding="utf-8")
            install = [sys.executable, "-P", "-m", "pip", "--python", str(python), "install"]
            install += ["--disable-pip-version-check", "--no-deps"]
            _run([*install, *environment.requirements], log, lock)
        except (OSError, subprocess.SubprocessError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise NoReaderError(
                f"the environment for {environment.has} could not be made; run `saf readers "
                f"install {environment.name}` where there is a network ({_last_line(log, error)}; "
                f"{log} has all that was said)"
            ) from error
        seconds = round(time.monotonic() - began)
        made = {"requirements": environment.requirements, "seconds": seconds}
        (folder / WHOLE).write_text(json.dumps(made), encoding="utf-8")
        report(f"made in {seconds} s")
        return python


@contextmanager
def _turn(environment: Environment) -> Iterator[int]:
    """One process at a time makes an environment. The descriptor holds the turn: what installs has
    it too, so that the next one waits for it where this process is killed."""
    try:
        place().mkdir(parents=True, exist_ok=True)
        lock = (place() / f"{environment.name}.lock").open("w")
    except OSError as error:
        raise NoReaderError(
            f"{place()} cannot be written to ({error.strerror}); {PLACE} names another folder for "
            "the environments of readers"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _run(command: Sequence[str], log: Path, lock: int, *, fresh: bool = False) -> None:
    with log.open("wb" if fresh else "ab") as output:
        subprocess.run(
            command,
            stdout=output,
            stderr=output,
            timeout=MAKING_SECONDS,
            check=True,
            pass_fds=(lock,),
        )


def _said(command: Sequence[str]) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=ASKED_SECONDS, check=True)
    return ran.stdout.strip()


def _last_line(log: Path, error: Exception) -> str:
    try:
        lines = [line for line in log.read_text(errors="replace").split("\n") if line.strip()]
    except OSError:
        lines = []
    told = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
    return (told[-1] if told else str(error))[:300]


def _packages_here() -> list[str]:
    """The folders of packages that this Python sees."""
    return [each for each in site.getsitepackages() if Path(each).is_dir()]


def _here(names: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version_of(name)
        except PackageNotFoundError:
            continue
    return found


def _there(python: str, names: list[str]) -> dict[str, str]:
    """The versions of these packages in another Python. Raises NoReaderError where it lacks one."""
    try:
        found: dict[str, str] = json.loads(_said([python, "-I", "-c", _VERSIONS, *names]))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise NoReaderError(f"{python} does not run: {error}") from error
    lacking = [name for name in names if name not in found]
    if lacking:
        raise NoReaderError(f"{python} has no {', no '.join(lacking)}")
    return found
