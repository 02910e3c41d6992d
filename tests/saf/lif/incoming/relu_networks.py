"""A small ReLU network of PyTorch, trained on digits, as others save it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from saf.data import Dataset, digits

LAYERS = (
    '{"name": "layers", "layers": [{"kind": "conv", "channels": 6}, {"kind": "average_pool"}, '
    '{"kind": "linear", "features": 24}]}'
)


def relu_network() -> nn.Sequential:
    """Convolution, BatchNorm, pooling and two matrices, for images of 1 8 8."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(96, 24),
        nn.ReLU(),
        nn.Linear(24, 10),
    )


def pixels(data: Dataset, split: str) -> tuple[Tensor, Tensor]:
    x, y = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
    return torch.tensor(x / data.unit, dtype=torch.float32), torch.tensor(y)


def trained(file: Path) -> float:
    """Train it for three epochs, save its weights, and return its test accuracy."""
    network, data = relu_network(), digits()
    x, y = pixels(data, "train")
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(3):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
    save_file(network.state_dict(), file)
    x, y = pixels(data, "test")
    with torch.no_grad():
        return float((network.eval()(x).argmax(1) == y).float().mean())
