"""NIR for Rockpool."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np

from saf.config.targets import TARGETS
from saf.lif.export.nir.dialect import Dialect
from saf.lif.export.nir.target import IN_ORDER, NIRTarget
from saf.networks.architecture import Shape


def _neuron(nir: Any, decay: float, threshold: float, shape: Shape) -> Any:
    """Rockpool takes τ / (1 + r) for the time step, and exp(−dt / τ) for the decay: dt = 1."""

    def full(value: float) -> Any:
        return np.full(shape, value, np.float32)

    tau = -1.0 / math.log(decay)
    return nir.LIF(
        tau=full(tau),
        r=full(tau - 1),
        v_leak=full(0.0),
        v_threshold=full(threshold),
        v_reset=full(0.0),
    )


@TARGETS.add
class Rockpool(NIRTarget):
    """`rockpool.nir` for Rockpool (without its chips' drivers), which subtracts the threshold, and
    `run_rockpool.py`, which lets neurons fire once a step and sets the decay that rounding has
    moved. Without it Rockpool 3.1.0 does not read the file: it looks for the time constant of an
    LIF neuron under another name."""

    label: ClassVar[str] = "NIR for Rockpool"
    place: ClassVar[int] = 55
    can: ClassVar[tuple[str, ...]] = (
        "linear maps, one layer after the other",
        "networks on a grid, whose rounding of the input is written as maps",
    )
    cannot: ClassVar[tuple[str, ...]] = (
        "convolutions and pooling, which its reader does not know",
        "skip connections",
        "feedback",
        "λ = 1",
    )
    readers: ClassVar[tuple[str, ...]] = ("rockpool", "nirtorch")
    loading: ClassVar[str] = (
        'from run_rockpool import Network\n\nscores, spikes = Network("{file}").run(x)  # {samples}'
    )
    dialect: ClassVar[Dialect] = Dialect(
        neuron=_neuron, sums=True, at_threshold=True, branches=False, vectors=True
    )
    imports: ClassVar[str] = (
        "import torch\nfrom rockpool.nn.modules.torch import lif_neuron_torch\n"
        "from rockpool.nn.modules.torch.nir import from_nir\n"
        "from rockpool.nn.modules.torch.torch_module import TorchModule"
    )
    helpers: ClassVar[str] = IN_ORDER
    functions: ClassVar[str] = """
def load(path):
    graph = nir.read(path)
    for node in graph.nodes.values():
        if isinstance(node, nir.LIF):
            node.tau_mem = node.tau  # the name under which the reader looks for it
    network = in_order(from_nir(graph))
    # The decay itself, and not exp(-dt / tau) as float32 rounds it.
    lif_neuron_torch.tau_to_decay = lambda dt, tau: torch.full_like(tau, OF["decay"])
    for module in network.modules():
        if isinstance(module, lif_neuron_torch.LIFNeuronTorch):
            module.max_spikes_per_dt = torch.tensor(1.0)  # it would fire several times a step
    return network


def sequence(network, frames):
    for module in network.modules():
        if isinstance(module, TorchModule):
            module.reset_state()
    output = network(torch.stack([frame.flatten(1) for frame in frames], dim=1))
    output = output[0] if isinstance(output, tuple) else output
    return list(output.unbind(1))
"""

    name: Literal["nir-rockpool"] = "nir-rockpool"
