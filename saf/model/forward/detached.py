"""A presentation detached from its graph, so that several backward passes share one at the end.

Shapes: as in `saf.model.forward.presentation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from saf.model.forward.presentation import Constants, Effective, Masks, Presentation, Steady
from saf.model.inputs import Stimulus
from saf.model.network import SpikingNetwork


class _Cut:
    """Detached copies of tensors, which collect the gradients of several backward passes;
    `pass_on` propagates their sums through the graph, once."""

    def __init__(self) -> None:
        self._pairs: list[tuple[Tensor, Tensor]] = []

    def __call__(self, tensor: Tensor) -> Tensor:
        leaf = tensor.detach().requires_grad_(tensor.requires_grad)
        self._pairs.append((tensor, leaf))
        return leaf

    def pass_on(self) -> None:
        reached = [(whole, leaf.grad) for whole, leaf in self._pairs if leaf.grad is not None]
        if reached:
            wholes, grads = zip(*reached, strict=True)
            torch.autograd.backward(wholes, grads)


class _CutConstants(Constants):
    def __init__(
        self,
        cut: _Cut,
        network: SpikingNetwork,
        stimulus: Stimulus,
        effective: Mapping[str, Effective],
    ) -> None:
        super().__init__(network, stimulus, effective)
        self._cut = cut

    def found(self, steady: Steady) -> Steady:
        return steady._replace(value=self._cut(steady.value))


def present_cut(
    network: SpikingNetwork, stimulus: Stimulus, masks: Masks
) -> tuple[Presentation, Callable[[], None]]:
    """As `present`, for several backward passes: each ends at the effective weights and the
    constants. The function that is returned as well propagates the sums to the parameters; call
    it once per sequence."""
    of_weights, of_constants = _Cut(), _Cut()
    effective = {
        name: Effective(
            tuple(
                wire._replace(weights=tuple(of_weights(weight) for weight in wire.weights))
                for wire in own.wires
            ),
            of_weights(own.bias),
        )
        for name, own in network.folded().items()
    }
    stimulus = stimulus.channels_last()
    constant = _CutConstants(of_constants, network, stimulus, effective)

    def pass_on() -> None:
        of_constants.pass_on()
        of_weights.pass_on()

    return Presentation(network, stimulus, effective, constant, masks), pass_on
