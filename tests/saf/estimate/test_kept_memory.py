"""What the methods keep for the backward pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from saf.config import Neuron
from saf.model.network import SpikingNetwork
from saf.networks.build import build
from saf.networks.convnet import ConvNet
from tests.saf.methods.gradients import firing_case, train
from tests.saf.methods.rules import METHODS


def kept_bytes(method: Callable[[], object]) -> int:
    """Largest sum of bytes of tensors that autograd holds at one time for the backward pass."""
    held: dict[int, int] = {}
    largest = 0

    class Saved:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal largest
            self.tensor = tensor
            held[id(self)] = tensor.numel() * tensor.element_size()
            largest = max(largest, sum(held.values()))

        def __del__(self) -> None:
            held.pop(id(self), None)

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        method()
    return largest


def memory(name: str, timesteps: int, chunk: int = 1) -> int:
    case = firing_case(timesteps=timesteps)
    return kept_bytes(lambda: train(METHODS[name], case, traced=False, chunk=chunk))


@pytest.mark.parametrize("name", ["saf-e", "saf-f", "spike-representation", "ottt-a", "ottt-o"])
def test_what_is_kept_for_the_backward_pass_does_not_grow_with_time(name: str) -> None:
    assert memory(name, 2) == memory(name, 4) == memory(name, 16)


def test_saf_e_in_bfloat16_keeps_four_bytes_a_neuron_whatever_the_number_of_steps() -> None:
    """σ' and â in two bytes each; weights and the image, which are not a neuron's, left out."""
    architecture = build(ConvNet(channels=(16, 16)), (1, 32, 32), 10)
    network = SpikingNetwork(
        architecture, Neuron(), mean=[0.4], std=[0.3], seed=0, compute_dtype=torch.bfloat16
    )
    x, y = torch.rand(32, 1, 32, 32), torch.arange(32) % 10

    def run() -> None:
        METHODS["saf-e"](
            network,
            x,
            y,
            timesteps=8,
            loss=torch.nn.functional.cross_entropy,
            update=lambda: None,
            chunk=1,
        )

    others = 4 * architecture.parameters + 4 * x.numel()
    assert kept_bytes(run) <= 4 * architecture.neurons * len(x) + 2 * others


def test_what_bptt_keeps_grows_with_time_and_what_saf_keeps_with_the_chunk() -> None:
    """The measurement above can fail."""
    assert memory("bptt", 16) > 3 * memory("bptt", 4)
    assert memory("saf-e", 16, chunk=8) > 2 * memory("saf-e", 16, chunk=2)
