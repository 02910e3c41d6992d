"""Values as input currents."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from saf.config.encodings import ENCODINGS, Encoding

if TYPE_CHECKING:
    from torch import Tensor


@ENCODINGS.add
class Current(Encoding):
    """The normalised values are the input, with their sign."""

    label: ClassVar[str] = "current"
    place: ClassVar[int] = 10

    name: Literal["current"] = "current"

    def encoded(self, x: Tensor, memory: Tensor | None, first: int) -> tuple[Tensor, None]:
        return x, None

    @property
    def is_plain(self) -> bool:
        return True
