"""What the targets that read NIR have in common: the file, a program that runs it, the replay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from saf.config.targets import NoReaderError, Obstacle, Reader, Target
from saf.lif.export.nir import graph
from saf.lif.export.nir.graph import Dialect
from saf.lif.export.templates.interpreter import interpreted
from saf.lif.export.templates.text import template

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork
    from saf.networks.outline import Outline

INTERPRETER = "SAF_EXPORT_PYTHON"
ASKED_SECONDS = 120
IN_ORDER = """
def in_order(network):
    \"\"\"The reader of nirtorch.load begins a node where branches meet before all that it hears
    has run; put every node behind those.\"\"\"
    waiting = {node.name: node for node in network.execution_order}
    order = []
    while waiting:
        for name, node in waiting.items():
            heard = {each.name for each in network.graph.find_source_nodes_of(node)}
            if not heard & waiting.keys():
                break
        else:
            raise ValueError("the graph has a cycle")
        order.append(waiting.pop(name))
    network.execution_order = order
    return network
"""
"""For programs whose reader is built on `nirtorch.load`."""
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


class NIRTarget(Target):
    """A reader of NIR. `NAME.nir` holds the graph, `run_NAME.py` runs it there."""

    dialect: ClassVar[Dialect]
    imports: ClassVar[str]
    """Lines that import the reader."""
    functions: ClassVar[str]
    """`load(path)`, the module that the reader makes of the file, and `sequence(network, frames)`,
    the outputs of all time steps."""
    helpers: ClassVar[str] = ""
    """Further functions, that these two call."""
    packages: ClassVar[tuple[str, ...]] = ("nir",)

    def unfit(self, of: Outline) -> Iterator[Obstacle]:
        yield from graph.unfit(self.dialect, of)

    def obstacles(self, network: LIFNetwork) -> Iterator[Obstacle]:
        if not list(self.unfit_of(network)):
            yield from graph.obstacles(self.dialect, network)

    def unfit_of(self, network: LIFNetwork) -> Iterator[Obstacle]:
        """`unfit` of a whole network."""
        from saf.networks.outline import outline_of

        yield from self.unfit(outline_of(network.description))

    def write(self, network: LIFNetwork, directory: Path) -> tuple[str, ...]:
        of = network.description
        name = self.name.removeprefix("nir-")
        file, program = f"{name}.nir", f"run_{name}.py"
        (directory / file).unlink(missing_ok=True)
        graph.write(self.dialect, network, str(directory / file))
        constants = {
            "timesteps": of.timesteps,
            "frames": of.frames,
            "layers": [layer.name for layer in of.architecture.spiking],
            "weighted": of.readout == "weighted",
            "decay": of.decay,
            "mean": list(of.mean),
            "std": list(of.std),
            "input_shape": list(of.architecture.input_shape),
            "input_bits": None if of.grid is None else of.grid.input_bits,
            "class_names": list(of.class_names),
            **self.constants(network),
        }
        written = template("nir_program.txt").format(
            file=file,
            program=program,
            reader=self.label.removeprefix("NIR for "),
            imports=self.imports,
            functions="\n\n\n".join(filter(None, (self.helpers.strip(), self.functions.strip()))),
            constants=json.dumps(constants).replace("\\", "\\\\").replace('"""', '\\"\\"\\"'),
        )
        (directory / program).write_text(written, encoding="utf-8")
        return (file, program)

    def constants(self, network: LIFNetwork) -> dict[str, Any]:
        """What else `functions` read from `OF`."""
        return {}

    @contextmanager
    def replay(self, network: LIFNetwork, directory: Path) -> Iterator[Reader]:
        names = [*self.packages, *self.readers, "torch"]
        python, versions = _interpreter(names)
        name = self.name.removeprefix("nir-")
        command = [str(directory.resolve() / each) for each in (f"run_{name}.py", f"{name}.nir")]
        with interpreted(command, versions, python=python) as reader:
            yield reader

    @classmethod
    def missing(cls, packages: tuple[str, ...]) -> list[str]:
        if os.environ.get(INTERPRETER):  # that environment is to have the readers
            packages = tuple(each for each in packages if each not in cls.readers)
        return super().missing(packages)


def _interpreter(names: list[str]) -> tuple[str, dict[str, str]]:
    """The Python that has all of these packages, and their versions there: this one, or the one
    that `SAF_EXPORT_PYTHON` names. Raises NoReaderError."""
    here = {}
    for name in names:
        try:
            here[name] = version_of(name)
        except PackageNotFoundError:
            continue
    if len(here) == len(names):
        return sys.executable, here
    missing = " ".join(name for name in names if name not in here)
    python = os.environ.get(INTERPRETER, "")
    if not python:
        raise NoReaderError(
            f"{missing} is not installed here; install it, or name a Python that has it by "
            f"{INTERPRETER}"
        )
    try:
        ran = subprocess.run(
            [python, "-I", "-c", _VERSIONS, *names],
            capture_output=True,
            text=True,
            timeout=ASKED_SECONDS,
            check=True,
        )
        there: dict[str, str] = json.loads(ran.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise NoReaderError(f"{INTERPRETER} names {python}, which does not run: {error}") from error
    lacking = [name for name in names if name not in there]
    if lacking:
        raise NoReaderError(
            f"the Python that {INTERPRETER} names, {python}, has no {', no '.join(lacking)}"
        )
    return python, there
