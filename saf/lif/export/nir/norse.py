"""NIR for Norse."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from saf.config.targets import TARGETS
from saf.lif.export.nir.dialect import Dialect
from saf.lif.export.nir.target import DELAYED, IN_ORDER, NIRTarget
from saf.networks.architecture import Shape

DT = 2.0**-10  # seconds: about a millisecond, and every product with it is exact


def _neuron(nir: Any, decay: float, threshold: float, shape: Shape) -> Any:
    """Norse makes of a LIF a neuron with a hard reset whatever it is told, and of a CubaLIF one
    with the reset that it is told: its synapse forgets all in a step, τ_syn = dt."""

    def full(value: float) -> Any:
        return np.full(shape, value, np.float32)

    return nir.CubaLIF(
        tau_syn=full(DT),
        tau_mem=full(DT / (1 - decay)),
        r=full(1 / (1 - decay)),
        v_leak=full(0.0),
        v_threshold=full(threshold),
        v_reset=full(0.0),
        w_in=full(1.0),
    )


@TARGETS.add
class Norse(NIRTarget):
    """`norse.nir` for Norse, whose reader takes the reset by subtraction and the time step as
    arguments, and `run_norse.py`, which gives them."""

    label: ClassVar[str] = "NIR for Norse"
    place: ClassVar[int] = 50
    can: ClassVar[tuple[str, ...]] = (
        "convolutions, linear maps, pooling, skip connections, delays, residual streams",
        "networks on a grid, whose rounding of the input is written as maps",
    )
    cannot: ClassVar[tuple[str, ...]] = ("feedback", "upsampling", "λ = 1")
    readers: ClassVar[tuple[str, ...]] = ("norse", "nirtorch")
    loading: ClassVar[str] = (
        'from run_norse import Network\n\nscores, spikes = Network("{file}").run(x)  # {samples}'
    )
    neurons: ClassVar[tuple[str, ...]] = ("lif",)
    delays: ClassVar[bool] = True
    rows: ClassVar[bool] = True
    dialect: ClassVar[Dialect] = Dialect(neuron=_neuron, sums=True, at_threshold=False, step=DT)
    imports: ClassVar[str] = (
        "import torch\nimport norse.torch\nimport norse.torch.utils.import_nir as reader\n"
        "from norse.torch.functional.reset import reset_subtract"
    )
    helpers: ClassVar[str] = IN_ORDER + DELAYED
    functions: ClassVar[str] = f"""
known = reader._import_norse_module
reader._import_norse_module = lambda node, **how: (
    Delayed(node) if isinstance(node, nir.Delay) else known(node, **how)
)


def load(path):
    graph = nir.read(path)
    for node in graph.nodes.values():
        if isinstance(node, nir.Flatten):
            node.start_dim += 1  # the reader counts the samples as a dimension
    return in_order(norse.torch.from_nir(graph, dt={DT!r}, reset_method=reset_subtract))


def sequence(network, frames):
    forget(network)
    state, outputs = None, []
    for frame in frames:
        output, state = network(frame, state)
        outputs.append(output)
    return outputs
"""

    name: Literal["nir-norse"] = "nir-norse"
