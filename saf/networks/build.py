"""The networks that can be asked for, as architectures for the images of a data set; no torch.

All have scaled weight standardisation and the scale of 2.74 after every spiking layer, as in the
settings published with OTTT; the readout is a plain linear layer. Depth and width come from the
specification, channels, size and classes from the data set.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from saf.config.base import Auto
from saf.config.networks import (
    MLP,
    VGG11,
    VGG11F,
    VGG16,
    ConvLayer,
    ConvNet,
    LayerList,
    LinearLayer,
    MobileNet,
    Network,
    PoolLayer,
    ResNet18,
    ResNet34,
    ResNet50,
)
from saf.networks.architecture import (
    INPUT,
    Architecture,
    AveragePool,
    Connection,
    Conv,
    Flatten,
    Linear,
    Operation,
    Population,
    Scale,
    Shape,
    Upsample,
)
from saf.networks.mobilenet import mobilenet
from saf.networks.resnet import SPIKE_SCALE, pooled, resnet, scaled

_Chain = ConvNet | VGG11 | VGG11F | VGG16 | MLP | LayerList
"""Networks whose layers follow one another."""
SIDES = {
    "vgg11": (16, 512),
    "vgg11-f": (16, 512),
    "vgg16": (32, 512),
    "resnet18": (8, 512),
    "resnet34": (8, 512),
    "resnet50": (8, 512),
    "mobilenet": (8, 512),
}
MAX_SIDE = 512
MAX_CHANNELS = 64
MAX_CLASSES = 10_000
VGG11_PLAN = (64, 128, "P", 256, 256, "P", 512, 512, "P", 512, 512)
DEEP_GAIN = 1.3
"""What the gains of VGG-16 start at. From 1 each layer fires less than the one before, and the last
ones never; from 1.3 all fire at about the same rate."""
VGG16_PLAN = (64, 64, "P", 128, 128, "P", 256, 256, 256, "P", 512, 512, 512, "P", 512, 512, 512)
MAX_POOLING = (
    "max pooling breaks the identity between SAF and LIF neurons (the largest accumulation is "
    "not the accumulation of the largest); use average pooling"
)


class NetworkError(ValueError):
    """The network cannot take such images, or would not convert; says what to change."""

    def __init__(self, message: str, *, pointer: str = "/network") -> None:
        """`pointer` is the JSON pointer to the field of the specification that is wrong."""
        super().__init__(message)
        self.pointer = pointer


def build(network: Network, input_shape: Shape, classes: int) -> Architecture:
    """The architecture that `network` asks for on samples of `input_shape` (C H W).

    Raises NetworkError.
    """
    _check_images(network, input_shape)
    if not 2 <= classes <= MAX_CLASSES:
        raise NetworkError(
            f"a data set needs 2 to {MAX_CLASSES} classes, not {classes}", pointer="/dataset"
        )
    if isinstance(network, ConvNet | VGG11) and network.pooling == "max":
        raise NetworkError(MAX_POOLING, pointer="/network/pooling")
    try:
        if isinstance(network, ResNet18 | ResNet34 | ResNet50 | MobileNet):
            if isinstance(network, MobileNet):
                return _with_gain(mobilenet(network, input_shape, classes), network.gain)
            return _with_gain(resnet(network, input_shape, classes), network.gain)
        layers = _layers(network, input_shape)
        last = _output_shape(layers, input_shape)
        architecture = _chain([*layers, _readout(network, last, classes)], input_shape)
        if isinstance(network, VGG11F):
            architecture = _with_feedback(architecture)
        return _with_gain(architecture, network.gain)
    except ValidationError as error:
        reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise NetworkError(reason) from error
    except NetworkError:
        raise
    except ValueError as error:
        raise NetworkError(str(error)) from error


def _check_images(network: Network, input_shape: Shape) -> None:
    if len(input_shape) != 3:
        raise NetworkError(
            f"{network.name} takes images of C H W, and the data set has {input_shape}"
        )
    channels, height, width = input_shape
    small, large = SIDES.get(network.name, (1, MAX_SIDE))
    if not (small <= min(height, width) and max(height, width) <= large):
        others = " or ".join(_networks_for(input_shape))
        remedy = f"use {others}, or resize the images" if others else "resize them"
        raise NetworkError(
            f"{network.name} takes images of {small} to {large} pixels a side, and the data set "
            f"has {height} × {width}; {remedy}"
        )
    if channels > MAX_CHANNELS:
        raise NetworkError(f"{network.name} takes 1 to {MAX_CHANNELS} channels, not {channels}")


def _networks_for(input_shape: Shape) -> list[str]:
    """Names of the networks that take samples of `input_shape` as they are by default."""
    found: list[str] = []
    for network in (ConvNet(), VGG11(), VGG16(), ResNet18(), MobileNet(), MLP()):
        small, large = SIDES.get(network.name, (1, MAX_SIDE))
        if not (small <= min(input_shape[1:]) and max(input_shape[1:]) <= large):
            continue
        try:
            build(network, input_shape, 2)
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

    def scaled_population(population: Population) -> Population:
        connections = tuple(
            Connection(source=c.source, operations=tuple(map(scaled_map, c.operations)))
            for c in population.connections
        )
        return population.model_copy(update={"connections": connections})

    return Architecture(
        input_shape=architecture.input_shape,
        populations=tuple(map(scaled_population, architecture.populations)),
        readout=scaled_population(architecture.readout),
    )


def _layers(network: _Chain, input_shape: Shape) -> list[list[Operation]]:
    """The operations that lead to each spiking layer."""
    match network:
        case ConvNet():
            return _convnet(network.channels, input_shape)
        case VGG11() | VGG11F():
            return _vgg(VGG11_PLAN, network.width)
        case VGG16():
            return _vgg(VGG16_PLAN, network.width, DEEP_GAIN)
        case MLP():
            first, *rest = (Linear(out_features=n, standardised=True) for n in network.features)
            layers: list[list[Operation]] = [[Flatten(), first]]
            layers.extend([linear] for linear in rest)
            return layers
        case LayerList():
            return _listed(network.layers, input_shape)


def _readout(network: _Chain, shape: Shape, classes: int) -> list[Operation]:
    """What leads from the last spiking layer, of `shape`, to the classes."""
    linear = Linear(out_features=classes)
    if isinstance(network, VGG11 | VGG11F | VGG16):
        return [*pooled(shape), Flatten(), linear]
    return [Flatten(), linear] if len(shape) == 3 else [linear]


def _convnet(channels: Sequence[int], input_shape: Shape) -> list[list[Operation]]:
    side = min(input_shape[1:])
    layers: list[list[Operation]] = [[Conv(out_channels=channels[0])]]
    for number in channels[1:]:
        pool: list[Operation] = []
        if side >= 4:
            pool.append(AveragePool())
            side //= 2
        layers.append([*pool, Conv(out_channels=number)])
    return layers


def _vgg(
    plan: Sequence[int | str], width: float, initial_gain: float = 1.0
) -> list[list[Operation]]:
    layers: list[list[Operation]] = []
    pool: list[Operation] = []
    for entry in plan:
        if isinstance(entry, str):
            pool = [AveragePool()]
        else:
            convolution = Conv(out_channels=scaled(entry, width), initial_gain=initial_gain)
            layers.append([*pool, convolution])
            pool = []
    return layers


def _listed(
    listed: Sequence[ConvLayer | LinearLayer | PoolLayer], input_shape: Shape
) -> list[list[Operation]]:
    """One list of operations for each spiking layer; a pooling goes to the layer after it."""
    layers: list[list[Operation]] = []
    before: list[Operation] = []
    shape = input_shape
    for number, layer in enumerate(listed):
        pointer = f"/network/layers/{number}"
        try:
            match layer:
                case PoolLayer(kind="max_pool"):
                    raise NetworkError(MAX_POOLING, pointer=f"{pointer}/kind")
                case PoolLayer():
                    before.append(AveragePool(kernel=layer.kernel))
                case ConvLayer():
                    padding = layer.kernel // 2 if layer.padding is None else layer.padding
                    before.append(
                        Conv(
                            out_channels=layer.channels,
                            kernel=layer.kernel,
                            stride=layer.stride,
                            padding=padding,
                            groups=layer.groups,
                        )
                    )
                case LinearLayer():
                    if len(shape) == 3:
                        before.append(Flatten())
                        shape = before[-1].output_shape(shape)
                    before.append(Linear(out_features=layer.features, standardised=True))
            shape = before[-1].output_shape(shape)
        except NetworkError:
            raise
        except ValueError as error:
            raise NetworkError(str(error), pointer=pointer) from error
        if not isinstance(layer, PoolLayer):
            layers.append(before)
            before = []
    if before:
        raise NetworkError(
            "the list ends in a pooling; end it in a layer of neurons",
            pointer=f"/network/layers/{len(listed) - 1}",
        )
    return layers


def _output_shape(layers: Sequence[Sequence[Operation]], shape: Shape) -> Shape:
    for chain in layers:
        for operation in chain:
            shape = operation.output_shape(shape)
    return shape


def _chain(operations: Sequence[Sequence[Operation]], input_shape: Shape) -> Architecture:
    """Populations one after the other; the last entry of `operations` leads to the readout."""
    populations = []
    source = INPUT
    for number, chain in enumerate(operations, start=1):
        name = "readout" if number == len(operations) else f"layer{number}"
        scale: list[Operation] = [] if source == INPUT else [Scale(factor=SPIKE_SCALE)]
        connection = Connection(source=source, operations=(*scale, *chain))
        populations.append(Population(name=name, connections=(connection,)))
        source = name
    return Architecture(
        input_shape=input_shape, populations=tuple(populations[:-1]), readout=populations[-1]
    )


def _with_feedback(architecture: Architecture) -> Architecture:
    """`architecture` with a connection from its last spiking layer to its first, as in VGG-F of
    arXiv 2210.04195: upsampled to the first layer's size, then a plain 3 × 3 convolution."""
    first, last = architecture.populations[0], architecture.populations[-1]
    shapes = architecture.shapes()
    (channels, height, width), (_, small, narrow) = shapes[first.name], shapes[last.name]
    if height != width or height % small or height // small < 2:
        raise NetworkError(
            f"the feedback of {small} × {narrow} pixels cannot be upsampled to {height} × {width}; "
            "crop or pad the images to squares whose sides are a multiple of 8"
        )
    feedback = Connection(
        source=last.name,
        operations=(
            Scale(factor=SPIKE_SCALE),
            Upsample(factor=height // small),
            Conv(out_channels=channels, standardised=False),
        ),
    )
    heard = first.model_copy(update={"connections": (*first.connections, feedback)})
    return Architecture(
        input_shape=architecture.input_shape,
        populations=(heard, *architecture.populations[1:]),
        readout=architecture.readout,
    )
