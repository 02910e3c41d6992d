"""The numbers that NeuroBench compares networks by, of a LIF network.

J. Yik et al., The neurobench framework for benchmarking neuromorphic computing algorithms and
systems, Nature Communications 2025; definitions as in its harness, version 2.3. A test computes
them with the harness.

Shapes: `N` samples, `T` time steps.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from saf.lif.network import LARGEST_SAMPLES_AT_ONCE, LIFNetwork
from saf.model.layers import Map
from saf.model.operations import mapped

MOST_SAMPLES = 64


def most_samples(network: LIFNetwork) -> int:
    """Number of samples whose potentials fit into the memory that a prediction takes: 1 to 64."""
    fitting = LARGEST_SAMPLES_AT_ONCE // network.description.architecture.neurons
    return max(1, min(MOST_SAMPLES, fitting))


@torch.no_grad()
def neurobench(network: LIFNetwork, x: Tensor) -> dict[str, Any]:
    """NeuroBench's complexity metrics of `network` on `x` (`N C H W`, of frames `N T C H W`), as
    JSON values.

    `footprint_bytes`: weights, biases, and mean and deviation of the input. `connection_sparsity`:
    zeros among the weights. `activation_sparsity`: zeros among the outputs of all neurons at all
    time steps. `synaptic_operations`, for one sample: effective accumulates (`effective_acs`) where
    all that enters a map at a time step is 0, 1 or −1, effective multiply-accumulates
    (`effective_macs`) elsewhere, without those of weights and inputs that are zero, and all of them
    (`dense`). `membrane_updates`, for one sample: how often a potential changes. Biases and pooling
    do not count. The maps of an image are applied once, as the network does it, and not at every
    time step. Raises ValueError where `x` does not fit.
    """
    counted = _Synapses()
    zeros = activations = updates = 0
    with ExitStack() as hooked:
        for module in network.modules():
            if isinstance(module, Map):
                handle = module.register_forward_pre_hook(counted)
                hooked.callback(handle.remove)
        before: dict[str, Tensor] = {}
        for step in network.run(x):
            for name, spikes in step.spikes.items():
                activations += spikes.numel()
                zeros += spikes.numel() - int(torch.count_nonzero(spikes))
                u = step.potentials[name]
                changed = u - before[name] if name in before else torch.ones_like(u)
                updates += int(torch.count_nonzero(changed))
            before = step.potentials
    weights = [module.weight for module in network.modules() if isinstance(module, Map)]
    absent = sum(weight.numel() - int(torch.count_nonzero(weight)) for weight in weights)
    held = [*network.parameters(), *network.buffers()]
    return {
        "samples": len(x),
        "footprint_bytes": sum(each.numel() * each.element_size() for each in held),
        "connection_sparsity": absent / sum(weight.numel() for weight in weights),
        "activation_sparsity": zeros / activations,
        "synaptic_operations": {
            "effective_acs": counted.accumulates / len(x),
            "effective_macs": counted.multiplies / len(x),
            "dense": counted.dense / len(x),
        },
        "membrane_updates": updates / len(x),
    }


class _Synapses:
    """Counts the operations of maps as they are applied, as a forward pre-hook."""

    def __init__(self) -> None:
        self.accumulates = self.multiplies = self.dense = 0

    def __call__(self, module: torch.nn.Module, given: tuple[Any, ...]) -> None:
        assert isinstance(module, Map)
        x, weight = given[0], module.weight
        there, connected = (x != 0).to(x.dtype), (weight != 0).to(weight.dtype)
        effective = _total(mapped(module.operation, there, connected))
        if bool(((x == 0) | (x.abs() == 1)).all()):
            self.accumulates += effective
        else:
            self.multiplies += effective
        everywhere = mapped(module.operation, torch.ones_like(x[:1]), torch.ones_like(weight))
        self.dense += len(x) * _total(everywhere)


def _total(counts: Tensor) -> int:
    return int(counts.double().sum())
