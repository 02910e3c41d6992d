"""NIR for sinabs."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np

from saf.config.targets import TARGETS
from saf.lif.export.nir.dialect import Dialect
from saf.lif.export.nir.target import IN_ORDER, NIRTarget
from saf.networks.architecture import Shape


def _neuron(nir: Any, decay: float, threshold: float, shape: Shape) -> Any:
    """sinabs takes exp(−1 / τ) for the decay, with τ in time steps."""

    def full(value: float) -> Any:
        return np.full(shape, value, np.float32)

    tau = -1.0 / math.log(decay) if decay < 1 else math.inf
    if math.isinf(tau):
        return nir.IF(r=full(1.0), v_threshold=full(threshold), v_reset=full(0.0))
    return nir.LIF(
        tau=full(tau), r=full(1.0), v_leak=full(0.0), v_threshold=full(threshold), v_reset=full(0.0)
    )


@TARGETS.add
class Sinabs(NIRTarget):
    """`sinabs.nir` for sinabs, which resets by subtraction, and `run_sinabs.py`, which makes its
    neurons fire at most once a step and sets the decay that rounding has moved."""

    label: ClassVar[str] = "NIR for sinabs"
    place: ClassVar[int] = 51
    can: ClassVar[tuple[str, ...]] = (
        "convolutions, linear maps, pooling, skip connections, delays, residual streams",
        "networks on a grid, whose rounding of the input is written as maps",
        "λ = 1 too",
    )
    cannot: ClassVar[tuple[str, ...]] = ("feedback", "upsampling")
    readers: ClassVar[tuple[str, ...]] = ("sinabs", "nirtorch")
    loading: ClassVar[str] = (
        'from run_sinabs import Network\n\nscores, spikes = Network("{file}").run(x)  # {samples}'
    )
    neurons: ClassVar[tuple[str, ...]] = ("lif",)
    delays: ClassVar[bool] = True
    rows: ClassVar[bool] = True
    dialect: ClassVar[Dialect] = Dialect(
        neuron=_neuron,
        sums=True,
        at_threshold=True,
        integrates=True,
        step=1.0,
    )
    imports: ClassVar[str] = (
        "import torch\nimport sinabs.layers\nimport sinabs.nir\n"
        "from sinabs.activation import SingleSpike\n"
        "from sinabs.nir import from_nir"
    )
    helpers: ClassVar[str] = IN_ORDER
    functions: ClassVar[str] = """
class Delayed(torch.nn.Module):
    \"\"\"A node Delay, which the reader does not know: what arrived so many time steps ago. They
    come at once, N · T ….\"\"\"

    def __init__(self, node):
        super().__init__()
        self.steps = round(float(node.delay.flat[0]) / OF["step"])

    def forward(self, x):
        whole = x.unflatten(0, (-1, OF["timesteps"]))
        nothing = torch.zeros_like(whole[:, : self.steps])
        return torch.cat([nothing, whole], dim=1)[:, : OF["timesteps"]].flatten(0, 1)


known = sinabs.nir._import_sinabs_module
sinabs.nir._import_sinabs_module = lambda node, **how: (
    Delayed(node) if isinstance(node, nir.Delay) else known(node, **how)
)


def layer_of(name):
    return next(layer for layer in OF["layers"] if "lif_" + layer in name.split("."))


def load(path):
    graph = nir.read(path)
    for node in graph.nodes.values():
        if isinstance(node, nir.LIF):  # the reader takes one number for a layer alone
            node.v_leak = np.zeros(1, np.float32)
            node.tau, node.v_threshold = (np.unique(each) for each in (node.tau, node.v_threshold))
        if isinstance(node, nir.IF):
            node.v_threshold = np.unique(node.v_threshold)
    network = from_nir(graph, num_timesteps=OF["timesteps"])
    for name, module in network.named_modules():
        if isinstance(module, sinabs.layers.LIF):
            module.spike_fn = SingleSpike  # it would fire several times a step
            module.min_v_mem = None
            if not isinstance(module, sinabs.layers.IAF):
                module.train_alphas = True  # the decay itself, and not exp(-1 / tau)
                module.alpha_mem = torch.nn.Parameter(torch.tensor(OF["decays"][layer_of(name)]))
                module.alpha_syn = None
    return in_order(network)


def sequence(network, frames):
    for module in network.modules():
        if isinstance(module, sinabs.layers.StatefulLayer):
            module.reset_states()
    samples = len(frames[0])
    whole = torch.stack(frames, dim=1).flatten(0, 1)
    output = network(whole)
    output = output[0] if isinstance(output, tuple) else output
    return list(output.reshape(samples, len(frames), *output.shape[1:]).unbind(1))
"""

    name: Literal["nir-sinabs"] = "nir-sinabs"
