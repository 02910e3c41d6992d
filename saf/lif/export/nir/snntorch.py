"""NIR for snnTorch."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from saf.config.targets import TARGETS
from saf.lif.export.nir.dialect import Dialect
from saf.lif.export.nir.target import DELAYED, NIRTarget
from saf.networks.architecture import Shape

DT = 1e-4  # seconds, fixed in its reader


def _neuron(nir: Any, decay: float, threshold: float, shape: Shape) -> Any:
    def full(value: float) -> Any:
        return np.full(shape, value, np.float32)

    tau = np.float32(DT) / np.float32(1 - decay)
    return nir.LIF(
        tau=full(float(tau)),
        r=full(float(tau / np.float32(DT))),
        v_leak=full(0.0),
        v_threshold=full(threshold),
        v_reset=full(0.0),
    )


@TARGETS.add
class SnnTorch(NIRTarget):
    """`snntorch.nir` for snnTorch, whose reader resets to zero, and `run_snntorch.py`, which sets
    the reset by subtraction. With `reset` "as read" the file is replayed as the reader takes it:
    another network, and a certificate that says so."""

    label: ClassVar[str] = "NIR for snnTorch"
    place: ClassVar[int] = 52
    can: ClassVar[tuple[str, ...]] = (
        "convolutions, linear maps, pooling, skip connections, delays, residual streams",
        "networks on a grid, whose rounding of the input is written as maps",
    )
    cannot: ClassVar[tuple[str, ...]] = (
        "feedback",
        "upsampling",
        "the reset by subtraction in the file alone: the program beside it sets it",
    )
    readers: ClassVar[tuple[str, ...]] = ("snntorch", "nirtorch")
    loading: ClassVar[str] = (
        'from run_snntorch import Network\n\nscores, spikes = Network("{file}").run(x)  # {samples}'
    )
    neurons: ClassVar[tuple[str, ...]] = ("lif",)
    delays: ClassVar[bool] = True
    rows: ClassVar[bool] = True
    dialect: ClassVar[Dialect] = Dialect(neuron=_neuron, sums=False, at_threshold=False, step=DT)
    imports: ClassVar[str] = (
        "import contextlib\nimport io\n\nimport torch\nimport nirtorch.nir_interpreter\n"
        "import snntorch\n"
        "from snntorch.import_nir import import_from_nir"
    )
    helpers: ClassVar[str] = DELAYED
    functions: ClassVar[str] = """
nirtorch.nir_interpreter.DEFAULT_MAP[nir.Delay] = Delayed


def load(path):
    graph = nir.read(path)
    for node in graph.nodes.values():
        if isinstance(node, nir.Flatten):
            node.start_dim += 1  # the reader counts the samples as a dimension
    with contextlib.redirect_stdout(io.StringIO()):
        network = import_from_nir(graph)
    for module in network.modules():
        if isinstance(module, snntorch.Leaky) and OF["subtract"]:
            # Reset by subtraction at the end of the step that fired.
            module.reset_mechanism = "subtract"
            module.state_function = module._base_int
            module.mem_reset = torch.zeros_like
    return network


def sequence(network, frames):
    forget(network)
    for module in network.modules():
        if isinstance(module, snntorch.Leaky):
            module.mem = torch.zeros(0)
    outputs = []
    for frame in frames:
        output = network(frame)
        outputs.append(output[0] if isinstance(output, tuple) else output)
    return outputs
"""

    name: Literal["nir-snntorch"] = "nir-snntorch"
    reset: Literal["subtract", "as read"] = "subtract"
    """"as read": to zero, as snnTorch's reader takes every neuron of NIR."""

    def constants(self, network: Any) -> dict[str, Any]:
        return {"subtract": self.reset == "subtract"}
