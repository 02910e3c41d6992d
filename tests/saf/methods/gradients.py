"""What a method leaves behind of one batch, how gradients are compared, and a network to try."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from saf.config import Neuron, Surrogate
from saf.model.inference import infer
from saf.model.network import SpikingNetwork
from saf.model.outcome import Outcome
from saf.networks.build import build
from saf.networks.convnet import ConvNet
from tests.saf.methods.rules import Method
from tests.saf.networks.random_networks import Case, randomise

PER_STEP = ["saf-e", "ottt-a", "ottt-o", "bptt"]


def train(
    method: Method, case: Case, *, traced: bool, chunk: int = 1, **options: Any
) -> tuple[Outcome, dict[str, Tensor]]:
    """Outcome and gradients (zero where none arrived) of one batch without an update."""
    case.network.zero_grad()
    outcome = method(
        case.network,
        case.x,
        case.y,
        timesteps=case.timesteps,
        loss=F.cross_entropy,
        update=lambda: None,
        trace_bias_and_input=traced,
        masks=case.masks,
        chunk=chunk,
        **options,
    )
    gradients = {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in case.network.named_parameters()
    }
    return outcome, gradients


def assert_close(
    ours: dict[str, Tensor],
    theirs: dict[str, Tensor],
    relative: float,
    network: SpikingNetwork,
) -> None:
    """Every parameter agrees, relative to the largest entry of its gradient, or to 0.01 where all
    are smaller: the gradient of a loss near 0 is a difference of rounded numbers near 1.

    The gain r of a branch has one entry, a sum over all weights of its map that may cancel to any
    fraction of its terms: with the effective weight r w of a raw weight w, ∇r = Σ w ∇w / r. Where
    every entry of ∇w may differ by relative · max |∇w|, ∇r may by relative · Σ |w| max |∇w| / |r|.
    In a standardised map the same holds of its gains in place of w.
    """

    def largest(name: str) -> float:
        return max(g[name].abs().max().item() for g in (ours, theirs) if name in g)

    parameters = dict(network.named_parameters())
    for name, gradient in ours.items():
        scale = max(largest(name), 0.01)
        if name.endswith(".residual_gain"):
            gain = name.replace("residual_gain", "gain")
            of_map = gain if gain in parameters else name.replace("residual_gain", "weight")
            terms = parameters[of_map].abs().sum() * largest(of_map) / parameters[name].abs()
            scale = max(scale, terms.item())
        difference = (gradient - theirs.get(name, torch.zeros_like(gradient))).abs().max().item()
        assert difference <= relative * scale, f"{name}: {difference:.1e}, of {scale:.1e}"


def firing_case(
    *,
    threshold: float = 1.0,
    decay: float = 0.5,
    timesteps: int = 6,
    seed: int = 0,
    frames: bool = False,
) -> Case:
    """A convnet of three spiking layers in which every layer fires."""
    architecture = build(ConvNet(channels=(4, 6, 6)), (2, 8, 8), 3)
    neuron = Neuron(decay=decay, threshold=threshold, surrogate=Surrogate(slope=1.0))
    network = SpikingNetwork(architecture, neuron, mean=[0.5, 0.5], std=[0.3, 0.3], seed=0)
    generator = torch.Generator().manual_seed(seed)
    randomise(network.double(), generator)
    shape = (4, timesteps, 2, 8, 8) if frames else (4, 2, 8, 8)
    x = torch.rand(shape, generator=generator, dtype=torch.float64)
    case = Case(network, x, torch.tensor([0, 1, 2, 1]), timesteps)
    rates = infer(network, x, timesteps, readout="mean").firing_rates
    assert (rates > 0.02).all(), "a silent layer proves nothing"
    assert (rates < 0.98).all(), "nor does one that always fires"
    return case


def all_layers_fire(outcome: Outcome) -> bool:
    return bool((outcome.firing_rates > 0).all())
