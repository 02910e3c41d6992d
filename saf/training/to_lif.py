"""The network of a checkpoint as a network of LIF neurons, while its training goes on or after it
was stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saf.lif.convert import convert
from saf.lif.network import LIFNetwork
from saf.model.network import network_of
from saf.networks.build import build, encoded_shape
from saf.training.checkpoint import Checkpoint, put


def lif_network(checkpoint: Checkpoint, summary: Mapping[str, Any]) -> LIFNetwork:
    """The LIF network that fires as the one that is evaluated at `checkpoint`, on the CPU.

    `summary` is `Dataset.summary()` of the data that the training sees. Where there is a moving
    average of the weights, it is taken; nothing is rounded to a grid. Raises ValueError when the
    checkpoint does not belong to such data, or holds values that are no finite numbers.
    """
    specification = checkpoint.specification
    shape, statistics = tuple(summary["shape"]), {key: summary[key] for key in ("mean", "std")}
    encoded = encoded_shape(specification, shape)
    architecture = build(specification.network, encoded, summary["classes"])
    network = network_of(specification, architecture, **statistics, shape=shape)
    put(checkpoint.average or checkpoint.weights, dict(network.named_parameters()))
    return convert(
        network,
        specification,
        class_names=summary["class_names"],
        frames=summary["timesteps"] is not None,
        dtype=network.parameter_dtype,
    )
