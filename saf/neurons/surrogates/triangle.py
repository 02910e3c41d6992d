"""A triangle: Esser et al., PNAS 2016; Bellec et al., arXiv 1803.09574; k at 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from saf.config.neurons import SURROGATES, Derivative, Surrogate

if TYPE_CHECKING:
    from torch import Tensor


@SURROGATES.add
class Triangle(Surrogate):
    """k max(0, 1 − k |x|)"""

    label: ClassVar[str] = "Triangle"
    place: ClassVar[int] = 20

    name: Literal["triangle"] = "triangle"

    def derivative(self) -> Derivative:
        k = self.slope

        def triangle(x: Tensor) -> Tensor:
            return k * (1.0 - k * x.abs()).clamp(min=0.0)

        return triangle
