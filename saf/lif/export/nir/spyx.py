"""NIR for Spyx."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from saf.config.targets import TARGETS
from saf.lif.export.nir.dialect import Dialect
from saf.lif.export.nir.environments import SPYX, Environment
from saf.lif.export.nir.target import NIRTarget
from saf.networks.architecture import Shape


def _neuron(nir: Any, decay: float, threshold: float, shape: Shape) -> Any:
    """τ in time steps; the reader takes neither r nor v_reset."""

    def full(value: float) -> Any:
        return np.full(shape, value, np.float32)

    if decay >= 1:
        return nir.IF(r=full(1.0), v_threshold=full(threshold), v_reset=full(0.0))
    return nir.LIF(
        tau=full(1 / (1 - decay)),
        r=full(1.0),
        v_leak=full(0.0),
        v_threshold=full(threshold),
        v_reset=full(0.0),
    )


@TARGETS.add
class Spyx(NIRTarget):
    """`spyx.nir` for Spyx on JAX, whose neurons hand their spikes on a step later and subtract the
    threshold after the leak, and `run_spyx.py`, which lets them fire and reset in the step itself.
    With `reset` "as read" the file is replayed as the reader takes it: another network, and a
    certificate that says so."""

    label: ClassVar[str] = "NIR for Spyx"
    place: ClassVar[int] = 54
    can: ClassVar[tuple[str, ...]] = (
        "convolutions, linear maps and pooling, one layer after the other",
        "networks on a grid, whose rounding of the input is written as maps",
        "λ = 1 too",
    )
    cannot: ClassVar[tuple[str, ...]] = (
        "skip connections and residual streams: its reader knows chains alone",
        "feedback",
        "upsampling",
        "firing in the step itself in the file alone: the program beside it sets it",
    )
    readers: ClassVar[tuple[str, ...]] = ("spyx",)
    computes: ClassVar[str] = "jax"
    environment: ClassVar[Environment] = SPYX
    loading: ClassVar[str] = (
        'from run_spyx import Network\n\nscores, spikes = Network("{file}").run(x)  # {samples}'
    )
    rows: ClassVar[bool] = True
    dialect: ClassVar[Dialect] = Dialect(
        neuron=_neuron,
        sums=True,
        at_threshold=False,
        integrates=True,
        branches=False,
        channels_last=True,
    )
    imports: ClassVar[str] = "import jax.numpy as jnp\nimport spyx.nir\nimport spyx.nn"
    functions: ClassVar[str] = """
class Subtracting(spyx.nn.LIF):
    \"\"\"Neurons that fire in the step in which they reach their threshold, which is subtracted
    before the leak of the next one.\"\"\"

    def __call__(self, x, V):
        V = jnp.float32(OF["decay"]) * V + x
        spikes = self.spike(V - self.threshold)
        return spikes, V - spikes * self.threshold


def load(path):
    sides = OF["input_shape"]
    sides = (*sides[1:], sides[0]) if len(sides) == 3 else tuple(sides)  # channels last
    network, _ = spyx.nir.from_nir(nir.read(path), jnp.zeros((1, 1, *sides)), dt=1)
    for layer in network.layers:
        if isinstance(layer, (spyx.nn.LIF, spyx.nn.IF)) and OF["subtract"]:
            layer.__class__ = Subtracting
    return network
"""
    runs: ClassVar[str] = """
def played(network, frames):
    \"\"\"The outputs of all time steps and, by layer, its spikes.\"\"\"
    state = network.initial_state(len(frames[0]))
    outputs, fired = [], {layer: [] for layer in OF["layers"]}
    for frame in frames:
        x = jnp.asarray(np.moveaxis(frame, 1, -1))
        names = iter(OF["layers"])
        for place, layer in enumerate(network.layers):
            if state[place] is None:
                x = layer(x)
                continue
            x, state[place] = layer(x, state[place])
            fired[next(names)].append(np.moveaxis(np.asarray(x), -1, 1))
        outputs.append(np.asarray(x))
    return outputs, {layer: np.stack(found, axis=1) for layer, found in fired.items()}
"""

    name: Literal["nir-spyx"] = "nir-spyx"
    reset: Literal["subtract", "as read"] = "subtract"
    """"as read": a step later and after the leak, as the neurons of Spyx do."""

    def constants(self, network: Any) -> dict[str, Any]:
        return {"subtract": self.reset == "subtract"}
