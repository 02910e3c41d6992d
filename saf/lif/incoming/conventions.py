"""What each reader of NIR makes of a neuron: its decay, the factor of its input, its threshold.

NIR says time constants and no time steps, and a reset to a value where most tools subtract. So a
file alone is several networks (docs/exports.md), and which one is meant is told by the tool that
it is for. Read in the readers' code: norse 1.1.0, sinabs 3.1.3, snntorch 1.0.0, spikingjelly
2.0.0, spyx 1.0.0, rockpool 3.1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saf.config.incoming import Reading

Array = NDArray[np.float32]
SNNTORCH_DT = 1e-4  # seconds, fixed in its reader
CLOSE = 1e-6  # what float32 has moved


@dataclass(frozen=True)
class Convention:
    """How a tool reads NIR."""

    label: str
    exponential: bool = False
    """Whether λ = exp(−dt / τ); else 1 − dt / τ."""
    unit_gain: bool = False
    """Whether the input is taken as it is; else it is multiplied by r dt / τ."""
    above: bool = True
    """Whether a neuron fires above its threshold alone; else at it as well."""
    subtracts: bool = False
    """Whether its reader builds neurons that reset by subtraction."""
    channels_last: bool = False
    """Whether maps are flattened as H W C, so that the matrices behind have their columns so."""
    remark: str = ""
    """What else it does that neurons here do not."""


SEVERAL = (
    "{} lets a neuron fire several times in a step where its potential is at twice its threshold; "
    "here it fires once"
)
CONVENTIONS: Mapping[str, Convention] = {
    "nir": Convention("the equations of NIR"),
    "norse": Convention("Norse"),
    "snntorch": Convention("snnTorch"),
    "spikingjelly": Convention("SpikingJelly", above=False),
    "sinabs": Convention(
        "sinabs",
        exponential=True,
        unit_gain=True,
        above=False,
        subtracts=True,
        remark=SEVERAL.format("sinabs"),
    ),
    "spyx": Convention(
        "Spyx",
        unit_gain=True,
        subtracts=True,
        channels_last=True,
        remark="Spyx hands the spikes of a layer on a step later and subtracts the threshold "
        "after the leak, here λ times the threshold: with a leak it is a start, and not the same "
        "spikes",
    ),
    "rockpool": Convention(
        "Rockpool",
        exponential=True,
        unit_gain=True,
        above=False,
        subtracts=True,
        remark=SEVERAL.format("Rockpool"),
    ),
}


@dataclass(frozen=True)
class Neurons:
    """A node of neurons, as numbers: scalars for the layer, arrays for each neuron."""

    decay: float
    synaptic_decay: float | None
    gain: Array
    shift: Array
    threshold: Array


def neurons_of(kind: str, node: Any, reading: Reading) -> Neurons:
    """What a node `IF`, `LIF` or `CubaLIF` is by a convention. Raises ValueError, which says what
    is missing or cannot be expressed."""
    convention = CONVENTIONS[reading.reader or "nir"]
    threshold = np.asarray(node.v_threshold, np.float32)
    if np.any(threshold <= 0) or not np.all(np.isfinite(threshold)):
        raise ValueError("its thresholds are not all above 0")
    _check_reset(node, reading, convention)
    if convention.above:  # u > V is u ≥ the next number
        threshold = np.nextafter(threshold, np.float32(np.inf))
    if kind == "IF":
        r = np.asarray(node.r, np.float32)
        gain = np.ones_like(r) if convention.unit_gain else r
        return Neurons(1.0, None, _near_one(gain), np.zeros_like(r), threshold)
    if kind == "LIF":
        tau = np.asarray(node.tau, np.float32)
        step = _step(node, tau, reading)
        decay = _decay(tau, step, convention, "tau")
        gain = _gain(np.asarray(node.r, np.float32) * step / tau, convention)
        return Neurons(decay, None, gain, _leak(node, tau, step, decay, reading), threshold)
    mem, syn = np.asarray(node.tau_mem, np.float32), np.asarray(node.tau_syn, np.float32)
    if reading.reader in ("sinabs", "spyx"):
        raise ValueError(f"neurons with a synaptic current of {convention.label} are not read")
    step = _step(node, mem, reading)
    decay = _decay(mem, step, convention, "tau_mem")
    synaptic = _decay(syn, step, convention, "tau_syn")
    into = np.asarray(node.w_in, np.float32) * step / syn
    through = np.asarray(node.r, np.float32) * step / mem
    gain = _gain(into * through, convention)
    if reading.reader == "rockpool":  # what arrives decays with the current in the step itself
        gain = np.full_like(gain, synaptic)
    alpha = synaptic if synaptic > 0 else None
    return Neurons(decay, alpha, gain, _leak(node, mem, step, decay, reading), threshold)


def _check_reset(node: Any, reading: Reading, convention: Convention) -> None:
    reset = reading.reset or ("subtract" if convention.subtracts else None)
    if reset is None:
        raise ValueError(
            "NIR resets a neuron to a value, and neurons here subtract their threshold; send "
            "reset=subtract if the tool that the network is of does that (or if it is to be a "
            "start for a training), or the reader that does: sinabs, spyx or rockpool"
        )
    if reset == "zero":
        raise ValueError(
            "a reset to a value cannot be expressed by neurons that subtract their threshold; "
            "train the network with reset by subtraction, or send reset=subtract to take it as a "
            "start"
        )


def _step(node: Any, tau: Array, reading: Reading) -> np.float32:
    """The time step, in the unit of the time constants."""
    if reading.reader == "rockpool":
        return np.float32(np.min(tau / (1 + np.asarray(node.r, np.float32))))
    if reading.reader == "snntorch":
        return np.float32(SNNTORCH_DT if reading.dt is None else reading.dt)
    if reading.reader in ("sinabs", "spyx"):
        return np.float32(1.0 if reading.dt is None else reading.dt)
    if reading.dt is None:
        raise ValueError(
            "it has a time constant, and NIR does not say how long a time step is; send dt (Norse "
            "takes 0.001 unless told, SpikingJelly what its reader is given), or the reader: "
            "snntorch, sinabs, spyx or rockpool, which fix it"
        )
    return np.float32(reading.dt)


def _decay(tau: Array, step: np.float32, convention: Convention, name: str) -> float:
    if len(np.unique(tau)) != 1:
        raise ValueError(f"its {name} differs from neuron to neuron, and a layer has one decay")
    one = np.float32(np.unique(tau)[0])
    if not one > 0:
        raise ValueError(f"its {name} is {one}, and has to be above 0")
    found = float(np.exp(-step / one) if convention.exponential else 1 - step / one)
    if found < -CLOSE or (found <= CLOSE and name != "tau_syn") or found > 1:
        raise ValueError(
            f"dt = {step:.6g} and {name} = {one:.6g} make a decay of {found:.3g}, and one in "
            "(0, 1] is needed; is dt in the unit of the file?"
        )
    tidy = round(found, 6)  # 0.49999997 is 1/2 that float32 has moved
    return max(0.0, tidy if abs(tidy - found) < CLOSE / 2 else found)


def _gain(gain: Array, convention: Convention) -> Array:
    return np.ones_like(gain) if convention.unit_gain else _near_one(gain)


def _near_one(gain: Array) -> Array:
    return np.where(np.abs(gain - 1) < CLOSE, np.float32(1), gain).astype(np.float32)


def _leak(node: Any, tau: Array, step: np.float32, decay: float, reading: Reading) -> Array:
    """What a resting potential adds in each step."""
    leak = np.asarray(node.v_leak, np.float32)
    if reading.reader == "rockpool":  # a bias there
        return leak
    if np.any(leak) and reading.reader in ("sinabs", "snntorch", "spyx", "spikingjelly"):
        raise ValueError("its v_leak is not 0, which the reader refuses or leaves out")
    return leak * np.float32(1 - decay)
