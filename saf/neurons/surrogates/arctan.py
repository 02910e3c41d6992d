"""The derivative of the arc tangent: Fang et al., arXiv 2007.05785 (k = 2); k / 2 at 0."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from saf.config.neurons import SURROGATES, Derivative, Surrogate

if TYPE_CHECKING:
    from torch import Tensor


@SURROGATES.add
class Arctan(Surrogate):
    """k / 2 / (1 + (π k x / 2)²)"""

    label: ClassVar[str] = "Arc tangent"
    place: ClassVar[int] = 40

    name: Literal["arctan"] = "arctan"

    def derivative(self) -> Derivative:
        k = self.slope

        def arctan(x: Tensor) -> Tensor:
            return 0.5 * k / (1.0 + (0.5 * math.pi * k * x) ** 2)

        return arctan
