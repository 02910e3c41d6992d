"""Training of spiking neural networks by Spike Accumulation Forwarding, and conversion to LIF.

    import saf, saf.data
    for report in saf.train(saf.JobSpecification(), saf.data.digits(), directory): ...
    network = saf.load_lif(directory / "lif.safetensors")
    scores = network(images)                      # N C H W in [0, 1] → N classes

What is named here is loaded when it is first used: importing `saf` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saf.certificate import certify
    from saf.config import JobSpecification
    from saf.conversion import convert
    from saf.errors import TrainingError
    from saf.lif import LIFNetwork, SequenceState, load_lif
    from saf.training import train

_HOME = {
    "JobSpecification": "saf.config",
    "LIFNetwork": "saf.lif",
    "SequenceState": "saf.lif",
    "TrainingError": "saf.errors",
    "certify": "saf.certificate",
    "convert": "saf.conversion",
    "load_lif": "saf.lif",
    "train": "saf.training",
}

__all__ = [
    "JobSpecification",
    "LIFNetwork",
    "SequenceState",
    "TrainingError",
    "certify",
    "convert",
    "load_lif",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'saf' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
