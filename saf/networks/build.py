"""The network that is asked for, as an architecture for the images of a data set; no torch.

All have scaled weight standardisation and the scale of 2.74 after every spiking layer, as in the
settings published with OTTT; the readout is a plain linear layer. Depth and width come from the
specification, channels, size and classes from the data set.
"""

from __future__ import annotations

from pydantic import ValidationError

from saf.config.base import Auto
from saf.config.job import JobSpecification
from saf.config.networks import NETWORKS, Network
from saf.config.presentation import image_sequence
from saf.errors import NetworkError
from saf.networks.architecture import (
    INPUT,
    Architecture,
    Conv,
    LayerDescription,
    Linear,
    Operation,
    Shape,
)

__all__ = ["NetworkError", "build", "build_for", "encoded_shape", "networks_for"]

MAX_CHANNELS = 64  # of images and event frames
MAX_SERIES_CHANNELS = 4096
MAX_CLASSES = 10_000


def build(network: Network, input_shape: Shape, classes: int) -> Architecture:
    """The architecture that `network` asks for on samples of `input_shape` (C H W).

    Raises NetworkError.
    """
    if not 2 <= classes <= MAX_CLASSES:
        raise NetworkError(
            f"a data set needs 2 to {MAX_CLASSES} classes, not {classes}", pointer="/dataset"
        )
    _check_samples(network, input_shape, classes)
    try:
        return _with_gain(network.architecture(input_shape, classes), network.gain)
    except ValidationError as error:
        reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise NetworkError(reason) from error
    except NetworkError:
        raise
    except ValueError as error:
        raise NetworkError(str(error)) from error


def encoded_shape(specification: JobSpecification, shape: Shape) -> Shape:
    """Shape of what the first layer of a job gets at a time step of samples of `shape` (C H W)."""
    channels, *sides = _presented_shape(specification, shape)
    return (specification.input.encoding.channels(channels), *sides)


def _presented_shape(specification: JobSpecification, shape: Shape) -> Shape:
    """Shape of what is shown at a time step of samples of `shape` (C H W), before it is encoded."""
    sequence = image_sequence(specification.input.present, shape)
    return tuple(shape) if sequence is None else (sequence.channels, 1, 1)


def build_for(
    specification: JobSpecification, input_shape: Shape, classes: int, *, in_time: bool
) -> Architecture:
    """The architecture for a job whose samples are of `input_shape` (C H W) at one time step;
    `in_time` says that they change over time, as event frames do and images do not.

    Raises NetworkError, also where other settings of the job do not fit the network.
    """
    network, neuron = specification.network, specification.neuron
    own, present = network.normalisation, specification.input.present
    shown = _presented_shape(specification, input_shape)
    if own is not None and len(own[0]) != shown[0]:
        raise NetworkError(
            f"has {len(own[0])} values, and the samples have {shown[0]} channels; give one "
            "for each channel",
            pointer="/network/mean",
        )
    input_shape = encoded_shape(specification, input_shape)
    if present != "whole":
        in_time = True
        if network.of_images:
            raise NetworkError(
                f"{network.name} takes images, and input.present = {present} shows them as "
                f"sequences of {shown[0]} values at a time step, without a place; use "
                f"{' or '.join(networks_for(input_shape, classes))}, or "
                "input.present = whole"
            )
    architecture = build(network, input_shape, classes)
    layers, delays = len(architecture.spiking), architecture.delays
    if neuron.decays and len(neuron.decays) != layers:
        raise NetworkError(
            f"has {len(neuron.decays)} values, and {network.name} as chosen has {layers} spiking "
            f"layers; give {layers} values, or neuron.decay for all of them",
            pointer="/neuron/decays",
        )
    if (network.in_time or INPUT in delays) and not in_time:
        others = " or ".join(networks_for(input_shape, classes))
        what = "is for data in time" if network.in_time else "as chosen delays its input"
        raise NetworkError(
            f"{network.name} {what}, and an image is the same at every time step; "
            f"use {others or 'another network'}, or data in time, which images are with "
            "input.present = rows"
        )
    return architecture


def _check_samples(network: Network, input_shape: Shape, classes: int) -> None:
    if len(input_shape) != 3:
        raise NetworkError(
            f"{network.name} takes images of C H W, and the data set has {input_shape}"
        )
    channels, height, width = input_shape
    small, large = network.sides
    if network.of_images and (height, width) == (1, 1):
        raise NetworkError(
            f"{network.name} takes images, and the data set has values of {channels} "
            f"channel{'s' if channels > 1 else ''} without a place (series, features, or frames "
            f"of one pixel); use {' or '.join(networks_for(input_shape, classes))}, or layers of "
            "kind linear"
        )
    if not (small <= min(height, width) and max(height, width) <= large):
        others = " or ".join(networks_for(input_shape, classes))
        remedy = f"use {others}, or resize the images" if others else "resize them"
        raise NetworkError(
            f"{network.name} takes images of {small} to {large} pixels a side, and the data set "
            f"has {height} × {width}; {remedy}"
        )
    most = MAX_CHANNELS if (height, width) != (1, 1) else MAX_SERIES_CHANNELS
    if channels > most:
        raise NetworkError(f"{network.name} takes 1 to {most} channels, not {channels}")


def networks_for(input_shape: Shape, classes: int) -> list[str]:
    """Names of the networks that take samples of `input_shape` as they are by default."""
    found: list[str] = []
    for network in (kind() for kind in NETWORKS if kind.suggested):
        if network.of_images and tuple(input_shape[1:]) == (1, 1):
            continue
        small, large = network.sides
        if not (small <= min(input_shape[1:]) and max(input_shape[1:]) <= large):
            continue
        try:
            build(network, input_shape, classes)
        except NetworkError:
            continue
        found.append(network.name)
    return found


def _with_gain(architecture: Architecture, gain: float | Auto) -> Architecture:
    """`architecture` with the initial gains of its standardised maps times `gain`."""
    if gain in ("auto", 1.0):
        return architecture
    assert gain != "auto"

    def scaled_map(operation: Operation) -> Operation:
        if not isinstance(operation, Conv | Linear) or not operation.standardised:
            return operation
        return operation.model_copy(update={"initial_gain": gain * operation.initial_gain})

    def scaled(layer: LayerDescription) -> LayerDescription:
        connections = tuple(
            c.model_copy(update={"operations": tuple(map(scaled_map, c.operations))})
            for c in layer.connections
        )
        return layer.model_copy(update={"connections": connections})

    return Architecture(
        input_shape=architecture.input_shape,
        layers=tuple(map(scaled, architecture.layers)),
        readout=scaled(architecture.readout),
    )
