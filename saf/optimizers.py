"""The optimizers of a training: torch's on a GPU, and on a CPU the same steps without their price.

The first of torch's optimizers in a process loads torch.compile, which takes longer than a small
training. What is computed here is, bit for bit, what they compute on a CPU, and the state has their
names, so that a checkpoint does not tell which one it came from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, MutableMapping
from math import sqrt
from typing import Any, Protocol

import torch
from torch import Tensor

from saf.config import SGD
from saf.config import Optimizer as ChosenOptimizer

EPSILON = 1e-8  # added to the root of the second moment


class Optimizer(Protocol):
    """What a training needs of an optimizer."""

    param_groups: list[dict[str, Any]]
    """Each with `lr`, the learning rate of the next step."""

    @property
    def state(self) -> MutableMapping[Tensor, Any]:
        """What is kept for each parameter: tensors by name."""

    def step(self) -> Any:
        """Change the parameters by their gradients."""

    def zero_grad(self) -> None:
        """Let go of all gradients."""


def optimizer_of(
    chosen: ChosenOptimizer, parameters: Iterable[torch.nn.Parameter], device: torch.device
) -> Optimizer:
    """The optimizer of a specification, for parameters on `device`."""
    rate, decay = chosen.learning_rate, chosen.weight_decay
    on_cpu = device.type == "cpu"
    if isinstance(chosen, SGD):
        sgd = _SGD if on_cpu else torch.optim.SGD
        return sgd(parameters, lr=rate, momentum=chosen.momentum, weight_decay=decay)
    adamw = _AdamW if on_cpu else torch.optim.AdamW
    return adamw(parameters, lr=rate, betas=(chosen.beta1, chosen.beta2), weight_decay=decay)


class _OneByOne:
    """Steps parameter by parameter."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], **options: Any) -> None:
        self.param_groups = [{"params": list(parameters), **options}]
        self.state: defaultdict[Tensor, Any] = defaultdict(dict)

    @torch.no_grad()
    def step(self) -> None:
        (group,) = self.param_groups
        for parameter in group["params"]:
            if parameter.grad is not None:
                self._move(parameter, parameter.grad, self.state[parameter], group)

    def zero_grad(self) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    def _move(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]
    ) -> None:
        raise NotImplementedError


class _SGD(_OneByOne):
    def _move(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]
    ) -> None:
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        if group["momentum"]:
            if (moving := state.get("momentum_buffer")) is None:
                moving = state["momentum_buffer"] = gradient.clone()
            else:
                moving.mul_(group["momentum"]).add_(gradient)
            gradient = moving
        parameter.add_(gradient, alpha=-group["lr"])


class _AdamW(_OneByOne):
    """Loshchilov & Hutter, arXiv 1711.05101."""

    def _move(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]
    ) -> None:
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        beta1, beta2 = group["betas"]
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        steps = state["step"].add_(1.0).item()
        if group["weight_decay"]:
            parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
        mean.lerp_(gradient, 1.0 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
        root = (square.sqrt() / sqrt(1.0 - beta2**steps)).add_(EPSILON)
        parameter.addcdiv_(mean, root, value=-group["lr"] / (1.0 - beta1**steps))
