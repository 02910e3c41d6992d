"""What an encoding is to a specification: how values become the input of a network. No torch.

An encoding is one file in `saf.encodings` or in a plugin: a subclass of `Encoding` with a `name`, a
`label` and `encoded`, registered by `@ENCODINGS.add`. Its docstring is what people read of it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from saf.config.base import Strict
from saf.config.choice import Choice
from saf.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor


class Encoding(Strict):
    """How the values of a time step become what the first layer gets; its fields are settings."""

    label: ClassVar[str]
    place: ClassVar[int] = 100
    in_time: ClassVar[bool] = False
    """Whether it is for data in time alone, and not for images."""
    over_time: ClassVar[bool] = False
    """Whether it gives another input at each time step though the values stay: what it makes of an
    image changes over the T time steps."""

    name: str = ""

    def channels(self, channels: int) -> int:
        """Number of channels that those of the samples become."""
        return channels

    @abstractmethod
    def encoded(self, x: Tensor, memory: Tensor | None, first: int) -> tuple[Tensor, Tensor | None]:
        """Encode K time steps `x`, K B C H W, normalised to mean 0 and deviation 1, of which the
        first is time step `first`, counted from 0.

        Returns K B `channels(C)` H W, and the memory for the next time steps; `memory` is that of
        the time steps before, None at the beginning and for encodings that have none. Equal values
        give equal results, whichever way T steps are cut into parts. Loads torch."""

    @property
    def is_plain(self) -> bool:
        """Whether values stay what they are."""
        return False


ENCODINGS: Registry[Encoding] = Registry("encoding", "saf.encodings")
"""All encodings by name."""
ENCODING = Choice(ENCODINGS, "current")
