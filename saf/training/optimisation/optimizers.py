"""The optimizer of a training: torch's, without what only torch's compiler needs of them.

`torch.optim` marks some of its methods as none of the compiler's business, and loads the compiler
(`torch._dynamo`, nearly two seconds of processor time) to say so, at the start of every training.
Here the same methods are called without their marks. The arithmetic is torch's, to the bit.

On the CPU AdamW updates each parameter by one kernel (`fused`) in place of a dozen, which is
several times faster (`benchmarks.speed.optimizer`).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from saf import config


class _Eager(Optimizer):
    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)


class _SGD(_Eager, torch.optim.SGD):
    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


class _AdamW(_Eager, torch.optim.AdamW):
    _step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))

    def step(self, closure: Any = None) -> Any:
        """Update the parameters. torch's fused kernel for the CPU goes through parameters and
        gradients by their addresses, whatever their strides: it takes gradients of convolutions in
        channels-last order for contiguous ones, and says nothing."""
        for group in self.param_groups:
            for parameter in group["params"] if group["fused"] else ():
                if parameter.grad is not None:
                    parameter.grad = parameter.grad.contiguous()
        return self._step(closure)


def optimizer_of(
    recipe: config.SGD | config.AdamW, parameters: Mapping[str, torch.nn.Parameter]
) -> Optimizer:
    """The optimizer that `recipe` names, for `parameters` by name; its learning rate is a number.
    Weights decay, and learned delays, of which none is more natural than another, do not."""
    assert recipe.learning_rate != "auto"
    delays = [own for name, own in parameters.items() if name.endswith(".centre")]
    others = [own for name, own in parameters.items() if not name.endswith(".centre")]
    groups: list[dict[str, Any]] = [{"params": others}]
    if delays:
        groups.append({"params": delays, "weight_decay": 0.0})
    if isinstance(recipe, config.SGD):
        return _SGD(
            groups,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
    return _AdamW(
        groups,
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        weight_decay=recipe.weight_decay,
        fused=all(own.device.type == "cpu" and own.is_contiguous() for own in parameters.values()),
    )
