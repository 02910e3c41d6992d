"""What an augmentation is to a specification: its settings and its place.

A change is one file in `saf.training.augmentations` or in a plugin: a subclass of `Augmentation`
with a `name`, a `label` and `changed`, registered by `@AUGMENTATIONS.add`. Its docstring is what
people read of it. Without settings it is asked for by its name alone.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from saf.config.base import Strict
from saf.registry import Registry

if TYPE_CHECKING:
    from torch import Generator, Tensor


class Augmentation(Strict):
    """A random change to training samples; its fields are settings."""

    label: ClassVar[str]
    place: ClassVar[int] = 100
    of_images: ClassVar[bool] = True
    """Whether it is about places in an image, so that there is nothing to change in series."""
    order: ClassVar[int] = 50
    """When it is made: changes of lower numbers come first, whatever order they are named in."""

    name: str = ""

    @abstractmethod
    def changed(self, x: Tensor, generator: Generator) -> Tensor:
        """A batch `x`, N C H W or N T C H W in [0, 1] (of series N T C 1 1), after the change, in
        the same shape and on the same device. Random numbers come from `generator`, which is on the
        CPU; all steps of a sample are changed alike. Loads torch."""


AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation", "saf.training.augmentations")
"""All random changes by name."""
