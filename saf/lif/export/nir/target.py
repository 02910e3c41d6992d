"""What the targets that read NIR have in common: the file, a program that runs it, the replay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from saf.config.methods import Readout
from saf.config.targets import Obstacle, Reader, Target, samples_in_words
from saf.lif.export.nir import graph
from saf.lif.export.nir.dialect import Dialect, heard_shape, unfit
from saf.lif.export.nir.environments import TOGETHER, Environment, interpreter_for, is_elsewhere
from saf.lif.export.templates.interpreter import interpreted
from saf.lif.export.templates.text import template
from saf.networks.outline import outline_of

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork
    from saf.networks.outline import Outline

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
DELAYED = """
class Delayed(torch.nn.Module):
    \"\"\"A node Delay, which the reader does not know: what arrived so many time steps ago.\"\"\"

    def __init__(self, node):
        super().__init__()
        self.steps = round(float(node.delay.flat[0]) / OF["step"])
        self.before = []

    def forward(self, x):
        self.before.append(x)
        late = len(self.before) > self.steps
        return self.before[-1 - self.steps] if late else torch.zeros_like(x)


def forget(network):
    for module in network.modules():
        if isinstance(module, Delayed):
            module.before = []
"""
"""For programs whose reader makes a module of torch for each node, and runs a step at a time."""
IN_TORCH = """
@torch.no_grad()
def played(network, frames):
    \"\"\"The outputs of all time steps and, by layer, its spikes.\"\"\"
    fired = {layer: [] for layer in OF["layers"]}
    modules = dict(network.eval().named_modules())
    hooks = [
        modules["lif_" + layer].register_forward_hook(noting(found))
        for layer, found in fired.items()
    ]
    try:
        outputs = sequence(network, [torch.from_numpy(frame) for frame in frames])
    finally:
        for hook in hooks:
            hook.remove()
    # A module that gets the whole sequence at once is called once.
    spikes = {
        layer: found[0] if len(found) == 1 else torch.stack(found, dim=1)
        for layer, found in fired.items()
    }
    return [each.numpy() for each in outputs], {k: each.numpy() for k, each in spikes.items()}


def noting(found):
    def hook(_module, _given, output):
        found.append(output[0] if isinstance(output, tuple) else output)

    return hook
"""
"""For programs whose reader makes a module of torch: `played`, by `sequence(network, frames)`."""


class NIRTarget(Target):
    """A reader of NIR. `NAME.nir` holds the graph, `run_NAME.py` runs it there."""

    dialect: ClassVar[Dialect]
    imports: ClassVar[str]
    """Lines that import the reader."""
    functions: ClassVar[str]
    """`load(path)`, what the reader makes of the file, and what `runs` calls: for modules of torch
    `sequence(network, frames)`, the outputs of all time steps."""
    helpers: ClassVar[str] = ""
    """Further functions, that these call."""
    runs: ClassVar[str] = IN_TORCH
    """`played(network, frames)`: the outputs of all time steps, and by layer the spikes."""
    computes: ClassVar[str] = "torch"
    """The package that computes."""
    environment: ClassVar[Environment] = TOGETHER
    """Where the reader is installed, if not here."""
    packages: ClassVar[tuple[str, ...]] = ("nir",)
    # What the program does before and behind the graph, for every reader.
    encodings: ClassVar[tuple[str, ...]] = ("onoff", "delta", "rate", "latency")
    readouts: ClassVar[tuple[Readout, ...]] = ("mean", "weighted", "last", "max")
    lengths: ClassVar[bool] = True

    def unfit(self, of: Outline) -> Iterator[Obstacle]:
        yield from unfit(self.dialect, of)

    def obstacles(self, network: LIFNetwork) -> Iterator[Obstacle]:
        if not list(self.unfit_of(network)):
            yield from graph.obstacles(self.dialect, network)

    def unfit_of(self, network: LIFNetwork) -> Iterator[Obstacle]:
        """`unfit` of a whole network."""
        yield from self.unfit(outline_of(network.description))

    def write(self, network: LIFNetwork, directory: Path) -> tuple[str, ...]:
        of = network.description
        name = self.name.removeprefix("nir-")
        file, program = f"{name}.nir", f"run_{name}.py"
        (directory / file).unlink(missing_ok=True)
        shapes = of.architecture.shapes()
        graph.write(self.dialect, network, str(directory / file))
        constants = {
            "timesteps": of.timesteps,
            "frames": of.frames,
            "layers": {layer.name: list(shapes[layer.name]) for layer in of.architecture.spiking},
            "readout": of.readout,
            "decay": of.decay,
            "step": self.dialect.step,
            "decays": {
                layer.name: of.neurons.get(layer.name, {}).get("decay", of.decay)
                for layer in of.architecture.spiking
            },
            "mean": list(of.mean),
            "std": list(of.std),
            "sample_shape": list(of.sample_shape),
            "bounded": not of.frames or of.image is not None or of.grid is not None,
            "encoding": of.encoding_of_input().model_dump(mode="json"),
            "input_shape": list(heard_shape(of.architecture)),
            "input_bits": None if of.grid is None else of.grid.input_bits,
            "class_names": list(of.class_names),
            **self.constants(network),
        }
        encoding = of.encoding_of_input()
        parts = (self.helpers, self.functions, self.runs)
        written = template("nir_program.txt").format(
            file=file,
            program=program,
            reader=self.label.removeprefix("NIR for "),
            imports=self.imports,
            samples=samples_in_words(outline_of(of)),
            encoding="no more" if encoding.is_plain else f"encoded ({encoding.name})",
            encoder=_encoder(),
            functions="\n\n\n".join(part.strip() for part in parts if part),
            constants=json.dumps(constants).replace("\\", "\\\\").replace('"""', '\\"\\"\\"'),
        )
        (directory / program).write_text(written, encoding="utf-8")
        return (file, program)

    def constants(self, network: LIFNetwork) -> dict[str, Any]:
        """What else `functions` read from `OF`."""
        return {}

    @contextmanager
    def replay(self, network: LIFNetwork, directory: Path) -> Iterator[Reader]:
        names = [*self.packages, *self.readers, self.computes]
        python, versions = interpreter_for(names, self.environment)
        name = self.name.removeprefix("nir-")
        command = [str(directory.resolve() / each) for each in (f"run_{name}.py", f"{name}.nir")]
        with interpreted(command, versions, python=python) as reader:
            yield reader

    @classmethod
    def missing(cls, packages: tuple[str, ...]) -> list[str]:
        if is_elsewhere(cls.environment):
            packages = tuple(each for each in packages if each not in cls.readers)
        return super().missing(packages)


def _encoder() -> str:
    """The function of the program of numpy that encodes values."""
    program = template("lif_numpy.py")
    start = program.index("def encoded(")
    return program[start : program.index("\n\n\n", start)]
