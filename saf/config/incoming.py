"""What a file of another tool's network does not say, and whoever sends it does; no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from saf.config.base import Strict
from saf.config.job import MOST_TIMESTEPS, NETWORK
from saf.config.networks import Network

Side = Annotated[int, Field(ge=1, le=1_000_000)]
_LISTS = {"mean", "std", "shape", "order"}
_OBJECTS = {"network"}


class Reading(Strict):
    """How to read a network of another tool: an NIR file, or the weights of a ReLU network in a
    safetensors file. Nothing of it holds for a `lif.safetensors`, which says all of this."""

    reader: (
        Literal["nir", "norse", "sinabs", "snntorch", "spikingjelly", "spyx", "rockpool"] | None
    ) = None
    """NIR: the tool as which the file is read, which decides how its time constants become a decay
    and whether inputs are multiplied by r. `nir`: the equations of NIR in steps of `dt`."""
    dt: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """NIR: length of a time step, in the unit of the file's time constants."""
    reset: Literal["subtract", "zero"] | None = None
    """NIR: how the tool resets a neuron that has fired, where its reader does not decide that. Only
    `subtract` can be expressed here."""
    timesteps: Annotated[int, Field(ge=1, le=MOST_TIMESTEPS)] | None = None
    """T, which neither kind of file says."""
    mean: Annotated[tuple[float, ...], Field(max_length=4096)] = ()
    """Of each channel: what was subtracted from the input, values in [0, 1] …"""
    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(max_length=4096)] = ()
    """… which was then divided by this. Empty: the network takes values as they are."""
    network: Annotated[Network | None, NETWORK] = None
    """Weights: the network with the same maps, `{"name": "layers", "layers": […]}` or one of the
    catalogue whose layers follow one another."""
    shape: Annotated[tuple[Side, ...], Field(min_length=3, max_length=3)] | None = None
    """Weights: C H W of one sample. NIR: the same, where its input is flat and samples are not."""
    order: Annotated[tuple[str, ...], Field(max_length=1000)] = ()
    """Weights: the names of the modules in the order in which they are computed, where these names
    do not tell: `conv1, bn1, conv2, bn2, fc`."""
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.9
    """Weights with samples: the percentile of a layer's activations that becomes the threshold."""


def reading_of(texts: Mapping[str, str]) -> Reading:
    """The fields of a form. Raises pydantic's ValidationError, and ValueError for a `network` that
    is no JSON."""
    given: dict[str, Any] = {}
    for name, text in texts.items():
        if not text.strip():
            continue
        if name in _OBJECTS:
            given[name] = _object(name, text)
        elif name in _LISTS:
            given[name] = tuple(part.strip() for part in text.strip("[] ").split(","))
        else:
            given[name] = text.strip()
    return Reading.model_validate(given)


def _object(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{name} is no JSON; write it as {{"name": "layers", …}}') from error
