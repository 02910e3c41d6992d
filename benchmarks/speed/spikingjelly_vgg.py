"""The same network with the modules of SpikingJelly 2.0, if it is installed.

Its `ottt_spiking_vggws` is the VGG-11 published with OTTT. SpikingJelly's OTTT evaluates every
map on spikes and on traces, as the published code does; its BPTT takes all steps of a layer at
once.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from benchmarks.measure import Run
from benchmarks.speed.contenders import GAIN, batch

CHANNELS = (64, 128, "P", 256, 256, "P", 512, 512, "P", 512, 512)
SCALE = 2.74


def contenders(size: int, timesteps: int, device: torch.device) -> dict[str, Run]:
    """BPTT in the multi-step mode and OTTT, in float32; empty without SpikingJelly."""
    if importlib.util.find_spec("spikingjelly") is None:
        return {}
    from spikingjelly.activation_based import functional, layer, neuron, surrogate
    from spikingjelly.activation_based.model import spiking_vggws_ottt

    x, y = batch(size, device)
    x = (x - 0.5) / 0.25
    settings: dict[str, Any] = {
        "tau": 2.0,
        "decay_input": False,
        "v_threshold": 1.0,
        "v_reset": None,
        "surrogate_function": surrogate.Sigmoid(alpha=4.0),
        "detach_reset": True,
    }
    online = spiking_vggws_ottt.ottt_spiking_vggws(num_classes=10, **settings).to(device)
    modules: list[nn.Module] = []
    before = 3
    for entry in CHANNELS:
        if entry == "P":
            modules.append(layer.AvgPool2d(2, 2))
            continue
        assert isinstance(entry, int)
        modules += [
            layer.WSConv2d(before, entry, 3, padding=1),
            neuron.LIFNode(**settings),
            _Scale(),
        ]
        before = entry
    modules += [layer.AdaptiveAvgPool2d((1, 1)), layer.Flatten(1), layer.Linear(512, 10)]
    through_time = nn.Sequential(*modules).to(device)
    functional.set_step_mode(through_time, "m")
    for of in (online, through_time):
        of.train()
        for name, parameter in of.named_parameters():
            if name.endswith("gain"):
                parameter.data.fill_(GAIN)

    def ottt() -> None:
        online.zero_grad(set_to_none=True)
        functional.reset_net(online)
        for _ in range(timesteps):
            scores = online(x)
            scores = scores[0] if isinstance(scores, list) else scores
            loss = F.cross_entropy(scores, y) / timesteps
            loss.backward()
            functional.detach_net(online)
        functional.reset_net(online)

    def bptt() -> None:
        through_time.zero_grad(set_to_none=True)
        functional.reset_net(through_time)
        scores = through_time(x.expand(timesteps, *x.shape))
        loss = F.cross_entropy(scores.flatten(0, 1), y.repeat(timesteps))
        loss.backward()
        functional.reset_net(through_time)

    return {"SpikingJelly BPTT": bptt, "SpikingJelly OTTT": ottt}


class _Scale(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * SCALE
