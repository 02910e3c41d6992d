"""What the header of `lif.safetensors` says of a LIF network that decides where it can run; it is
read without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from saf.config.presentation import ImageSequence
from saf.networks.architecture import Architecture

MOST_HEADER_BYTES = 16 * 2**20


class _Described(Protocol):
    """`saf.lif.header.LIFDescription`, of which an outline is the part without torch."""

    @property
    def grid(self) -> BaseModel | None: ...


class Outline(BaseModel):
    """A LIF network without its weights and its normalisation."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    architecture: Architecture
    decay: float
    """λ"""
    threshold: float
    """V"""
    timesteps: int
    """T"""
    readout: str
    frames: bool
    """Whether a sample is a sequence of T frames."""
    neurons: dict[str, dict[str, Any]] = {}
    """Layers with neurons of their own: the name of the model and its constants."""
    image: ImageSequence | None = None
    """The image that the sequence is of, where it is one that is read row by row or the like."""
    encoding: dict[str, Any] | None = None
    """What the normalised input becomes: the name of the encoding and its settings; null: nothing
    else."""
    grid: dict[str, Any] | None = None
    """What the weights are rounded to; null: nothing."""

    @property
    def is_series(self) -> bool:
        """Whether samples are series, `T C`, frames of one pixel."""
        return self.frames and self.architecture.input_shape[1:] == (1, 1)


def outline_of(description: _Described) -> Outline:
    """The outline of a description."""
    found = {name: getattr(description, name) for name in Outline.model_fields if name != "grid"}
    grid = description.grid
    return Outline(**found, grid=None if grid is None else grid.model_dump(mode="json"))


def is_lif(path: Path) -> bool:
    """Whether a file calls itself a `lif.safetensors`, of whatever version. Raises OSError."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MOST_HEADER_BYTES:
            return False
        try:
            format_ = json.loads(json.loads(file.read(length))["__metadata__"]["format"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
    return isinstance(format_, str) and format_.startswith("saf-lif/")


def read_outline(file: BinaryIO) -> Outline | None:
    """The outline of an open `lif.safetensors`; None where this version cannot tell it from the
    header. Raises OSError."""
    length = int.from_bytes(file.read(8), "little")
    if length > MOST_HEADER_BYTES:
        return None
    try:
        metadata = json.loads(file.read(length))["__metadata__"]
        names = Outline.model_fields.keys() & metadata.keys()
        return Outline.model_validate({name: json.loads(metadata[name]) for name in names})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ValidationError):
        return None
