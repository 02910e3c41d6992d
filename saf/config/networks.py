"""What a network is to a specification: its settings, and all that others ask of it. No torch.

A network is one file in `saf.networks` or in a plugin: a subclass of `Network` with a `name`, a
`label` and an `architecture`, registered by `@NETWORKS.add`. Its docstring is what people read of
it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from saf.config.base import Auto, OrAuto, Strict
from saf.registry import Registry

if TYPE_CHECKING:
    from saf.networks.architecture import Architecture, Shape

Channels = Annotated[int, Field(ge=1, le=4096)]
Features = Annotated[int, Field(ge=1, le=65_536)]
Gain = Annotated[float, Field(gt=0, le=1000)]
Width = Annotated[float, Field(gt=0, le=4)]


class Network(Strict):
    """A network; its fields are settings."""

    label: ClassVar[str]
    """What people read in place of the name: "VGG-11"."""
    place: ClassVar[int] = 100
    sides: ClassVar[tuple[int, int]] = (1, 512)
    """The smallest and the largest number of pixels a side of images that it takes."""
    suggested: ClassVar[bool] = False
    """Whether it is named to who has samples that another network does not take."""
    of_images: ClassVar[bool] = True
    """Whether it needs images (or event frames) of more than one pixel. Others take series."""
    in_time: ClassVar[bool] = False
    """Whether it is for samples that change over time alone, and not for images."""
    own_layers: ClassVar[bool] = False
    """Whether its owner lists its layers, so that no rule knows the learning rate it needs."""

    name: str = ""
    gain: Annotated[Gain | Auto, OrAuto()] = "auto"
    """What the gains of the standardised weights start at. A number: that of every layer, times 1.3
    in `vgg16`; 1 is the published start. "auto": of each layer that on training samples, chosen by
    `seed`, it fires at a rate from which it can learn, and residual branches start open, which as
    published start at zero (`saf.training.first_pass`)."""

    @property
    def rate(self) -> float:
        """What an automatic learning rate is multiplied by."""
        return 1.0

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and deviation of each channel of the input that belong to the network; None: those
        of the training samples."""
        return None

    @abstractmethod
    def architecture(self, input_shape: Shape, classes: int) -> Architecture:
        """The layers and their connections, for samples of `input_shape`, C H W (of series C 1 1),
        the gains of standardised maps as for `gain` = 1. Raises ValueError, or NetworkError with a
        pointer."""


NETWORKS: Registry[Network] = Registry("network", "saf.networks")
"""All networks by name."""
