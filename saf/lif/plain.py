"""A LIF network as a module of torch's own operations alone, for torch's own exporters.

Shapes: `N` samples, `T` steps, `K` classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from saf.config.methods import Readout
from saf.lif.grid.fixed_point import LEVELS, pixel_values
from saf.lif.network import LIFNetwork
from saf.networks.architecture import (
    INPUT,
    Architecture,
    AveragePool,
    Conv,
    InARow,
    LayerDescription,
    Linear,
    Operation,
    Scale,
    SumPool,
    Upsample,
)
from saf.neurons.base import Neuron, State


class PlainNetwork(torch.nn.Module):
    """`network` with the time steps in a loop and nothing that checks, hooks or chooses kernels."""

    _mean: Tensor
    _std: Tensor
    _levels: Tensor
    _first: Tensor

    def __init__(self, network: LIFNetwork) -> None:
        super().__init__()
        of = network.description
        self._of, self._architecture = of, of.architecture
        self._encoding = of.encoding_of_input()
        self._neurons = torch.nn.ModuleDict(
            {layer.name: of.neurons_of(layer.name) for layer in of.architecture.spiking}
        )
        self._weights = torch.nn.ParameterDict(
            {
                name.replace(".", "_"): torch.nn.Parameter(tensor.clone(), requires_grad=False)
                for name, tensor in network.tensors.items()
            }
        )
        per_channel = (-1, *(1,) * (len(of.architecture.input_shape) - 1))
        self.register_buffer("_mean", torch.tensor(of.mean).view(per_channel))
        self.register_buffer("_std", torch.tensor(of.std).view(per_channel))
        if of.grid is not None:
            table = pixel_values(of.mean, of.std, of.grid.input_bits).float()
            first = torch.arange(len(table)).view(per_channel) * table.shape[1]
            self.register_buffer("_levels", table.flatten())
            self.register_buffer("_first", first)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...], *tuple[Tensor, ...]]:
        """Scores N K of samples, N C H W or N T C H W, and the spikes of each layer, N T …; of
        data in time also the scores after each step, N T K, for samples that end before T."""
        of, readout = self._of, self._architecture.readout
        changes = of.frames or self._encoding.over_time
        sent: dict[str, Tensor] = {}
        past: dict[str, list[Tensor]] = {source: [] for source in self._architecture.delays}
        states: dict[str, State] = {}
        fired: dict[str, list[Tensor]] = {p.name: [] for p in self._architecture.spiking}
        constant: dict[str, Tensor] = {}
        memory: Tensor | None = None
        total: Tensor | None = None
        scores: list[Tensor] = []
        for t in range(of.timesteps):
            if t == 0 or changes:
                values = self._normalised(x[:, t] if of.frames else x)
                (pixels,), memory = self._encoding.encoded(values[None], memory, t)
                constant = self._of_input(pixels, past)
            for layer in self._architecture.layers:
                name = layer.name
                u = self._arriving(layer, sent, past, constant[name])
                if layer.relay:
                    sent[name] = u
                    continue
                own = self._neurons[name]
                assert isinstance(own, Neuron)
                if name not in states:
                    states[name] = own.init_state(torch.zeros_like(u))
                sent[name], states[name] = own.step(u, states[name])
                fired[name].append(sent[name])
            current = self._arriving(readout, sent, past, constant[readout.name])
            total = _read_out(of.readout, of.decay, total, current)
            scores.append(total)
            if of.readout == "weighted":
                scores[-1] = total / sum(of.decay**k for k in range(t + 1))
            for source, line in past.items():
                line.append(pixels if source == INPUT else sent[source])
        spikes = tuple(torch.stack(steps, dim=1) for steps in fired.values())
        over_time = (torch.stack(scores, dim=1),) if of.frames else ()
        return scores[-1], spikes, *over_time

    def _normalised(self, x: Tensor) -> Tensor:
        if self._of.grid is None:
            return (x - self._mean) / self._std
        index = torch.round(x * (LEVELS - 1)).long() + self._first
        return F.embedding(index, self._levels[:, None]).squeeze(-1)

    def _of_input(self, x: Tensor, past: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        """What every layer gets from the input, and its bias."""
        architecture: Architecture = self._architecture
        grid, shapes = self._of.grid, architecture.shapes()
        found = {}
        for layer in (*architecture.layers, architecture.readout):
            bias = self._weights[f"{layer.name}_bias"]
            bias = bias.view(1, -1, *(1,) * (len(shapes[layer.name]) - 1))
            current = self._arriving(layer, {INPUT: x}, past, bias)
            if grid is not None and layer.reads_input:
                current = torch.round(current * 2.0**grid.bits) * 2.0**-grid.bits
            found[layer.name] = current
        return found

    def _arriving(
        self,
        layer: LayerDescription,
        sent: Mapping[str, Tensor],
        past: Mapping[str, list[Tensor]],
        total: Tensor,
    ) -> Tensor:
        """`total` and what comes over the connections whose source has `sent` something."""
        number = 0
        for connection in layer.connections:
            x = sent.get(connection.source)
            if x is not None and connection.delay:
                before = past[connection.source][-connection.delay :]
                x = before[0] if len(before) == connection.delay else torch.zeros_like(x)
            for operation in connection.operations:
                weight = None
                if isinstance(operation, Conv | Linear):
                    weight = self._weights[f"{layer.name}_{number}_weight"]
                    number += 1
                x = None if x is None else _applied(operation, weight, x)
            total = total if x is None else total + x
        return total


def _read_out(kind: Readout, decay: float, before: Tensor | None, now: Tensor) -> Tensor:
    """The readout after a step with the output `now`."""
    if before is None or kind == "last":
        return now
    if kind == "max":
        return before.maximum(now)
    return (decay * before if kind == "weighted" else before) + now


def _applied(operation: Operation, weight: Tensor | None, x: Tensor) -> Tensor:
    match operation:
        case Conv():
            assert weight is not None
            return F.conv2d(
                x,
                weight,
                stride=operation.strides,
                padding=operation.paddings,
                groups=operation.groups,
            )
        case Linear():
            assert weight is not None
            return F.linear(x, weight)
        case AveragePool():
            return F.avg_pool2d(x, operation.window)
        case SumPool():
            (n, m), (height, width) = operation.window, x.shape[2:]
            h, w = height // n, width // m
            windows: Tensor = x[:, :, : h * n, : w * m].reshape(-1, x.shape[1], h, n, w, m)
            return windows.sum((3, 5))
        case Upsample():
            n = operation.factor
            return x.repeat_interleave(n, 2).repeat_interleave(n, 3)
        case Scale():
            return x * operation.factor
        case InARow():
            return x.reshape(len(x), operation.maps, 1, -1)
    return x.flatten(1)
