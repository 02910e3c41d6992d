"""NIR for SpikingJelly."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from saf.config.targets import TARGETS
from saf.lif.export.nir.dialect import Dialect
from saf.lif.export.nir.target import DELAYED, NIRTarget
from saf.networks.architecture import Shape


def _neuron(nir: Any, decay: float, threshold: float, shape: Shape) -> Any:
    """τ in time steps: the reader is told dt = 1."""

    def full(value: float) -> Any:
        return np.full(shape, value, np.float32)

    tau = 1 / (1 - decay)
    return nir.LIF(
        tau=full(tau), r=full(tau), v_leak=full(0.0), v_threshold=full(threshold), v_reset=full(0.0)
    )


@TARGETS.add
class SpikingJelly(NIRTarget):
    """`spikingjelly.nir` for SpikingJelly, whose reader resets to a value, and
    `run_spikingjelly.py`, which sets the reset by subtraction. With `reset` "as read" the file is
    replayed as the reader takes it: another network, and a certificate that says so."""

    label: ClassVar[str] = "NIR for SpikingJelly"
    place: ClassVar[int] = 53
    can: ClassVar[tuple[str, ...]] = (
        "convolutions, linear maps, pooling, skip connections, delays, residual streams",
        "networks on a grid, whose rounding of the input is written as maps",
    )
    cannot: ClassVar[tuple[str, ...]] = (
        "feedback",
        "upsampling",
        "the reset by subtraction in the file alone: the program beside it sets it",
    )
    readers: ClassVar[tuple[str, ...]] = ("spikingjelly", "nirtorch")
    loading: ClassVar[str] = (
        "from run_spikingjelly import Network\n\n"
        'scores, spikes = Network("{file}").run(x)  # {samples}'
    )
    neurons: ClassVar[tuple[str, ...]] = ("lif",)
    delays: ClassVar[bool] = True
    rows: ClassVar[bool] = True
    dialect: ClassVar[Dialect] = Dialect(neuron=_neuron, sums=False, at_threshold=True, step=1.0)
    imports: ClassVar[str] = (
        "import torch\nimport nirtorch.nir_interpreter\n"
        "from spikingjelly.activation_based import neuron\n"
        "from spikingjelly.activation_based.nir_exchange.from_nir import import_from_nir"
    )
    helpers: ClassVar[str] = DELAYED
    functions: ClassVar[str] = """
nirtorch.nir_interpreter.DEFAULT_MAP[nir.Delay] = Delayed


def load(path):
    network = import_from_nir(path, dt=1.0)
    for module in network.modules():
        if isinstance(module, neuron.LIFNode) and OF["subtract"]:
            module.v_reset = None  # by subtraction
    return network


def sequence(network, frames):
    forget(network)
    state, outputs = None, []
    for frame in frames:
        output, state = network(frame, state)
        outputs.append(output)
    return outputs
"""

    name: Literal["nir-spikingjelly"] = "nir-spikingjelly"
    reset: Literal["subtract", "as read"] = "subtract"
    """"as read": to zero, as SpikingJelly's reader takes every neuron of NIR."""

    def constants(self, network: Any) -> dict[str, Any]:
        return {"subtract": self.reset == "subtract"}
