"""Training of spiking neural networks by Spike Accumulation Forwarding, and conversion to LIF.

    import saf, saf.data
    for report in saf.train(saf.JobSpecification(), saf.data.digits(), directory): ...
    network = saf.load_lif(directory / "lif.safetensors")
    scores = network(images)                      # N C H W in [0, 1] → N classes
    with saf.Client("http://127.0.0.1:8000") as client: ...   # the extra client

What is named here is loaded when it is first used: importing `saf` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saf.client import Client
    from saf.config import JobSpecification
    from saf.errors import TrainingError
    from saf.lif.certificate import certify
    from saf.lif.convert import convert
    from saf.lif.exporting import export
    from saf.lif.incoming.reading import read_network
    from saf.lif.network import LIFNetwork, load_lif
    from saf.lif.sequence import SequenceState
    from saf.training.loop import train

_HOME = {
    "Client": "saf.client",
    "JobSpecification": "saf.config",
    "LIFNetwork": "saf.lif.network",
    "SequenceState": "saf.lif.sequence",
    "TrainingError": "saf.errors",
    "certify": "saf.lif.certificate",
    "convert": "saf.lif.convert",
    "export": "saf.lif.exporting",
    "load_lif": "saf.lif.network",
    "read_network": "saf.lif.incoming.reading",
    "train": "saf.training.loop",
}

__all__ = [
    "Client",
    "JobSpecification",
    "LIFNetwork",
    "SequenceState",
    "TrainingError",
    "certify",
    "convert",
    "export",
    "load_lif",
    "read_network",
    "train",
]


if not TYPE_CHECKING:  # a type checker then knows the names above and no others

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'saf' has no attribute {name!r}")
        return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
