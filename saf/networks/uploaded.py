"""A network as a file describes it, with plain weights; no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from saf.config.networks import NETWORKS, Network
from saf.errors import NetworkError
from saf.networks.architecture import Architecture, LayerDescription, Linear, Shape, weighted

Means = Annotated[tuple[Annotated[float, Field(allow_inf_nan=False)], ...], Field(max_length=4096)]
Deviations = Annotated[
    tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...], Field(max_length=4096)
]


@NETWORKS.add
class Uploaded(Network):
    """The network of a file, as a `lif.safetensors` describes it: its weights are plain, without
    standardisation and gains. A job that starts from an uploaded network (`init.network`) has it
    by itself."""

    label: ClassVar[str] = "Of a file"
    place: ClassVar[int] = 110
    own_layers: ClassVar[bool] = True
    of_images: ClassVar[bool] = False

    name: Literal["uploaded"] = "uploaded"
    description: Architecture
    """Layers and their connections, as `architecture` in the header of a `lif.safetensors`; the
    readout has as many outputs as the data set has classes, whatever is said here."""
    mean: Means = ()
    """What is subtracted from each channel of the input; empty: the mean of the training
    samples …"""
    std: Deviations = ()
    """… and what it is then divided by; empty: their deviation."""

    @model_validator(mode="after")
    def _both_or_none(self) -> Uploaded:
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean has {len(self.mean)} values and std {len(self.std)}; give one of each for "
                "every channel, or leave both out"
            )
        for layer in (*self.description.layers, self.description.readout):
            for operation in (op for c in layer.connections for op in weighted(c)):
                if operation.standardised or operation.residual_gain is not None:
                    raise ValueError(
                        f"layer {layer.name} has weights with gains; those of a file are plain: "
                        "set standardised to false, and residual_gain to null"
                    )
        return self

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        return (self.mean, self.std) if self.mean else None

    def architecture(self, input_shape: Shape, classes: int) -> Architecture:
        theirs = self.description
        if tuple(input_shape) != theirs.input_shape:
            raise NetworkError(
                f"the network of the file takes samples of {_times(theirs.input_shape)}, and the "
                f"data set has {_times(input_shape)}; take a data set whose samples have as many "
                "channels and pixels"
            )
        if theirs.classes == classes:
            return theirs
        readout = _of_classes(theirs.readout, classes)
        return Architecture(input_shape=theirs.input_shape, layers=theirs.layers, readout=readout)


def _of_classes(readout: LayerDescription, classes: int) -> LayerDescription:
    """The readout with other outputs. Raises NetworkError where it does not end in matrices."""
    connections = []
    for connection in readout.connections:
        *before, last = connection.operations or (None,)
        if not isinstance(last, Linear):
            raise NetworkError(
                "the readout of the file ends in no matrix, so that it cannot be made one for "
                f"{classes} classes; take a data set with as many classes as the network has"
            )
        changed = (*before, last.model_copy(update={"out_features": classes}))
        connections.append(connection.model_copy(update={"operations": changed}))
    return readout.model_copy(update={"connections": tuple(connections)})


def _times(shape: Shape) -> str:
    return " × ".join(map(str, shape))
