"""A rectangle: STBP, Wu et al., Front. Neurosci. 2018 (its width a is 1 / k); k at 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from saf.config.neurons import SURROGATES, Derivative, Surrogate

if TYPE_CHECKING:
    from torch import Tensor


@SURROGATES.add
class Rectangle(Surrogate):
    """k where |x| < 1 / (2k), else 0"""

    label: ClassVar[str] = "Rectangle"
    place: ClassVar[int] = 30

    name: Literal["rectangle"] = "rectangle"

    def derivative(self) -> Derivative:
        k = self.slope

        def rectangle(x: Tensor) -> Tensor:
            return k * (x.abs() < 0.5 / k).to(x.dtype)

        return rectangle
