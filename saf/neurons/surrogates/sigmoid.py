"""The derivative of the logistic function: OTTT, arXiv 2210.04195 (k = 4); k / 4 at 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from saf.config.neurons import SURROGATES, Derivative, Surrogate

if TYPE_CHECKING:
    from torch import Tensor


@SURROGATES.add
class Sigmoid(Surrogate):
    """k s (1 − s) with s = 1 / (1 + e^−kx)"""

    label: ClassVar[str] = "Sigmoid"
    place: ClassVar[int] = 10

    name: Literal["sigmoid"] = "sigmoid"

    def derivative(self) -> Derivative:
        import torch

        k = self.slope

        def sigmoid(x: Tensor) -> Tensor:
            s = (k * x).sigmoid_()
            return torch.addcmul(s, s, s, value=-1.0).mul_(k)

        return sigmoid
