"""A LIF network as a module of torch's own operations alone, for torch's own exporters.

Shapes: `N` samples, `T` steps, `K` classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from saf.lif.grid.fixed_point import LEVELS, pixel_values
from saf.lif.network import LIFNetwork
from saf.networks.architecture import (
    INPUT,
    Architecture,
    AveragePool,
    Conv,
    LayerDescription,
    Linear,
    Operation,
    Scale,
    SumPool,
    Upsample,
)


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

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Scores N K of samples, N C H W or N T C H W, and the spikes of each layer, N T …."""
        of, readout = self._of, self._architecture.readout
        sent: dict[str, Tensor] = {}
        potentials: dict[str, Tensor] = {}
        fired: dict[str, list[Tensor]] = {p.name: [] for p in self._architecture.spiking}
        constant: dict[str, Tensor] = {}
        total: Tensor | None = None
        for t in range(of.timesteps):
            if t == 0 or of.frames:
                constant = self._of_input(x[:, t] if of.frames else x)
            for layer in self._architecture.layers:
                name = layer.name
                u = self._arriving(layer, sent, constant[name])
                if layer.relay:
                    sent[name] = u
                    continue
                if name in potentials:
                    u = of.decay * (potentials[name] - of.threshold * sent[name]) + u
                potentials[name] = u
                sent[name] = (u >= of.threshold).to(u.dtype)
                fired[name].append(sent[name])
            current = self._arriving(readout, sent, constant[readout.name])
            if total is not None:
                kept = of.decay * total if of.readout == "weighted" else total
                current = kept + current
            total = current
        assert total is not None
        if of.readout == "weighted":
            total = total / sum(of.decay**k for k in range(of.timesteps))
        return total, tuple(torch.stack(steps, dim=1) for steps in fired.values())

    def _of_input(self, x: Tensor) -> dict[str, Tensor]:
        """What every layer gets from the input, and its bias."""
        architecture: Architecture = self._architecture
        grid, shapes = self._of.grid, architecture.shapes()
        if grid is None:
            x = (x - self._mean) / self._std
        else:
            index = torch.round(x * (LEVELS - 1)).long() + self._first
            x = F.embedding(index, self._levels[:, None]).squeeze(-1)
        found = {}
        for layer in (*architecture.layers, architecture.readout):
            bias = self._weights[f"{layer.name}_bias"]
            bias = bias.view(1, -1, *(1,) * (len(shapes[layer.name]) - 1))
            current = self._arriving(layer, {INPUT: x}, bias)
            if grid is not None and layer.reads_input:
                current = torch.round(current * 2.0**grid.bits) * 2.0**-grid.bits
            found[layer.name] = current
        return found

    def _arriving(
        self, layer: LayerDescription, sent: Mapping[str, Tensor], total: Tensor
    ) -> Tensor:
        number = 0
        for connection in layer.connections:
            x = sent.get(connection.source)
            for operation in connection.operations:
                weight = None
                if isinstance(operation, Conv | Linear):
                    weight = self._weights[f"{layer.name}_{number}_weight"]
                    number += 1
                x = None if x is None else _applied(operation, weight, x)
            total = total if x is None else total + x
        return total


def _applied(operation: Operation, weight: Tensor | None, x: Tensor) -> Tensor:
    match operation:
        case Conv():
            assert weight is not None
            return F.conv2d(
                x,
                weight,
                stride=operation.stride,
                padding=operation.padding,
                groups=operation.groups,
            )
        case Linear():
            assert weight is not None
            return F.linear(x, weight)
        case AveragePool():
            return F.avg_pool2d(x, operation.kernel)
        case SumPool():
            n, (height, width) = operation.kernel, x.shape[2:]
            h, w = height // n, width // n
            windows: Tensor = x[:, :, : h * n, : w * n].reshape(-1, x.shape[1], h, n, w, n)
            return windows.sum((3, 5))
        case Upsample():
            n = operation.factor
            return x.repeat_interleave(n, 2).repeat_interleave(n, 3)
        case Scale():
            return x * operation.factor
    return x.flatten(1)
