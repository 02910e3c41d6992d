"""The header of `lif.safetensors`: the description of a LIF network without its weights.

Shapes: `T` time steps, `C H W` one image or frame.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from saf.config import MOST_TIMESTEPS, NEURONS
from saf.config.encodings import ENCODING, ENCODINGS, Encoding
from saf.config.methods import AT_THE_END, Readout
from saf.config.presentation import ImageSequence
from saf.lif.grid.fixed_point import Grid
from saf.networks.architecture import (
    INPUT,
    Architecture,
    AveragePool,
    LayerDescription,
    Scale,
    Shape,
    weighted,
)
from saf.neurons.base import Neuron
from saf.neurons.lif import LIF


class LIFDescription(BaseModel):
    """The header of `lif.safetensors`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal["saf-lif/2", "saf-lif/3"] = "saf-lif/2"
    """Version 3 has connections with delays, an encoding of the input, images that are shown as
    sequences, or the readout `last` or `max`, which readers of version 2 would overlook."""
    architecture: Architecture
    decay: Annotated[float, Field(gt=0, le=1)]
    """λ"""
    threshold: Annotated[float, Field(ge=1e-30, le=1e30)]
    """V"""
    timesteps: Annotated[int, Field(ge=1, le=MOST_TIMESTEPS)]
    """T"""
    readout: Readout
    neurons: dict[str, dict[str, Any]] = {}
    """Neurons of the layers that have others than LIF neurons with `decay` and `threshold`, by
    layer: the `name` of the model and its constants."""
    frames: bool
    """Whether a sample is a sequence of T frames (`T C H W`) and not one image (`C H W`)."""
    image: ImageSequence | None = None
    """The image that the sequence is of, where it is one that is read row by row or the like; left
    out where samples are no such images."""
    mean: tuple[float, ...]
    """Per channel, subtracted from the input …"""
    std: tuple[Annotated[float, Field(gt=0)], ...]
    """… which is then divided by this."""
    encoding: dict[str, Any] | None = None
    """What the first layer gets of the normalised input: the `name` of the encoding and its
    settings; left out where values stay what they are."""
    class_names: tuple[str, ...]
    grid: Grid | None = None
    """What the weights, the pixels and the currents of the input are rounded to; null: nothing."""
    specification: dict[str, Any]
    """The job that trained the network, for the record."""

    @model_validator(mode="before")
    @classmethod
    def _of_version_1(cls, header: Any) -> Any:
        """Translate the names of files of version 1: `populations`, and `sum` and `final`."""
        if not isinstance(header, dict) or header.get("format") != "saf-lif/1":
            return header
        translated = header | {"format": "saf-lif/2"}
        architecture = header.get("architecture")
        if isinstance(architecture, dict) and "layers" not in architecture:
            names = {"populations": "layers"}
            translated["architecture"] = {names.get(k, k): v for k, v in architecture.items()}
        readouts = {"sum": "mean", "final": "weighted"}
        if isinstance(readout := header.get("readout"), str):
            translated["readout"] = readouts.get(readout, f"{readout} (of version 1)")
        return translated

    @field_validator("neurons")
    @classmethod
    def _are_known(cls, neurons: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for layer, constants in neurons.items():
            name = constants.get("name")
            if not isinstance(name, str) or name not in NEURONS:
                raise ValueError(
                    f"layer {layer} has neurons {str(name)[:64]!r}, which nothing here adds; "
                    "install the plugin that does"
                )
        return {
            layer: NEURONS[constants["name"]].model_validate(constants).constants()
            for layer, constants in neurons.items()
        }

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: dict[str, Any] | None) -> dict[str, Any] | None:
        if encoding is None:
            return None
        name = encoding.get("name")
        if not isinstance(name, str) or name not in ENCODINGS:
            raise ValueError(
                f"the input is encoded by {str(name)[:64]!r}, which nothing here adds; install the "
                "plugin that does"
            )
        return ENCODINGS[name].model_validate(encoding).model_dump()

    @model_validator(mode="after")
    def _is_of_the_image(self) -> LIFDescription:
        image = self.image
        if image is None:
            return self
        if not self.frames or self.timesteps != image.timesteps:
            raise ValueError(
                f"an image that is read {image.words} is a sequence of {image.timesteps} steps"
            )
        if self.sample_shape != (image.channels, 1, 1):
            raise ValueError(f"a step of the image has {image.channels} channels without a place")
        return self

    @model_validator(mode="after")
    def _can_be_on_a_grid(self) -> LIFDescription:
        spiking = {layer.name for layer in self.architecture.spiking}
        if odd := self.neurons.keys() - spiking:
            raise ValueError(f"there is no spiking layer {min(odd)} for its neurons")
        delays = self.architecture.delays
        at_the_end = self.readout in AT_THE_END
        is_new = bool(delays or self.encoding or self.image or at_the_end)
        if (self.format == "saf-lif/3") != is_new:
            raise ValueError(
                "a network with delays, an encoding, images that are shown as sequences or the "
                "readout last or max, and no other, is of format saf-lif/3"
            )
        if self.architecture != self.architecture.at_each_tap():
            raise ValueError("delays that are learned become a connection for each tap")
        if INPUT in delays and not self.frames:
            raise ValueError("an image, which is the same at every time step, has no delay")
        if self.grid is None:
            return self
        if self.encoding or at_the_end:
            raise ValueError(
                "a network on a grid has no encoding, and neither the readout last nor max"
            )
        plain = {"name": "lif", "decay": self.decay, "threshold": self.threshold}
        for owner, constants in {"all layers": plain, **self.neurons}.items():
            neuron = NEURONS[constants["name"]].model_validate(constants)
            if not neuron.fits_grid or neuron.learns_decay:
                raise ValueError(f"a network on a grid has no neurons {neuron.name} ({owner})")
            for needed in neuron.off_grid():
                raise ValueError(f"a network on a grid needs {needed} ({owner})")
        for layer in (*self.architecture.layers, self.architecture.readout):
            for operation in (o for c in layer.connections for o in c.operations):
                if isinstance(operation, AveragePool):
                    raise ValueError("a network on a grid has sum pooling, not average pooling")
                if isinstance(operation, Scale) and (operation.factor * 2**self.grid.bits) % 1:
                    raise ValueError(f"the factor {operation.factor} is not on the grid")
        return self

    @model_serializer(mode="wrap")
    def _without_no_encoding(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without an encoding and an image that are none, so that files without them stay what
        they are."""
        written: dict[str, Any] = handler(self)
        optional = ("encoding", "image")
        return {k: v for k, v in written.items() if k not in optional or v is not None}

    def encoding_of_input(self) -> Encoding:
        """How normalised values become the input of the first layer."""
        found: Encoding = ENCODING.default()
        if self.encoding is not None:
            found = ENCODINGS[self.encoding["name"]].model_validate(self.encoding)
        return found

    @property
    def image_sequence(self) -> dict[str, Any] | None:
        """The image that a sequence is of, as JSON values for certificates."""
        return None if self.image is None else self.image.model_dump(mode="json")

    @property
    def sample_shape(self) -> Shape:
        """Shape of an image, or of a time step of a sequence, before it is encoded."""
        return (len(self.mean), *self.architecture.input_shape[1:])

    def tensor_shapes(self) -> dict[str, Shape]:
        """Shape of every tensor of the file, by name."""
        shapes = self.architecture.shapes()
        weights = self.architecture.weight_shapes()
        expected: dict[str, Shape] = {}
        for layer in (*self.architecture.layers, self.architecture.readout):
            for name in weight_names(layer):
                expected[name] = next(weights)
            expected[f"{layer.name}.bias"] = shapes[layer.name][:1]
        return expected

    def neurons_of(self, layer: str) -> Neuron:
        """Make the neurons of a spiking layer. They have no parameters: what was learned is
        constant."""
        if layer not in self.neurons:
            return LIF(self.decay, self.threshold)
        constants = self.neurons[layer]
        made = NEURONS[constants["name"]].model_validate(constants)
        neurons = made.neurons(self.architecture.shapes()[layer])
        for module in neurons.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, parameter.detach(), persistent=False)
        return neurons


def weight_names(layer: LayerDescription) -> list[str]:
    """Names of the weights of `layer`, in the order of its connections and operations."""
    count = sum(len(weighted(connection)) for connection in layer.connections)
    return [f"{layer.name}.{number}.weight" for number in range(count)]
