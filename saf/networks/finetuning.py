"""Training from the weights of another one: which networks fit, which layers learn; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from saf.config.networks import Network
from saf.errors import UserConfigError
from saf.networks.architecture import (
    Architecture,
    LayerDescription,
    Linear,
    Operation,
    weighted,
)


def check_same_network(source: Network, network: Network) -> None:
    """Raise UserConfigError unless `network` has the settings of `source`, the one whose weights it
    starts from. What gains start at may differ: the weights replace them."""
    ours, theirs = (n.model_dump(mode="json", exclude={"gain"}) for n in (network, source))
    differs = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    if source.name != network.name:
        raise UserConfigError(
            f"the network to start from is another one: it is {source.name} and not {network.name}",
            hint="its network came from a file: start from the lif.safetensors of the job that "
            "init names, which brings its network along"
            if source.name == "uploaded"
            else "take the network of the job that init names",
        )
    if differs:
        told = ", ".join(f"{key} {theirs.get(key)} and not {ours.get(key)}" for key in differs[:3])
        raise UserConfigError(
            f"the network to start from is another one: it has {told}",
            hint="take the network of the job that init names",
        )


def check_layers_fit(source: Architecture, architecture: Architecture) -> None:
    """Raise UserConfigError, which names the first layer that does not fit, unless `architecture`
    computes with the plain weights of `source`, those of a file, what the file does; the readout
    may have other outputs."""
    hint = "leave network out, and the job has that of the file"
    given = {layer.name: layer for layer in source.layers}
    for layer in architecture.layers:
        theirs = given.get(layer.name)
        if theirs is None:
            raise UserConfigError(f"the file has no layer {layer.name}", hint=hint)
        if any(op.standardised for c in layer.connections for op in weighted(c)):
            raise UserConfigError(
                f"layer {layer.name} has standardised weights with gains, and those of the file "
                "are plain",
                hint=hint,
            )
        if layer != theirs:
            raise UserConfigError(f"layer {layer.name} is another one in the file", hint=hint)
    if left := given.keys() - {layer.name for layer in architecture.layers}:
        raise UserConfigError(f"the network has no layer {min(left)} as the file", hint=hint)
    ours, readout = architecture.readout, source.readout
    if _without_outputs(ours) != _without_outputs(readout):
        raise UserConfigError(f"layer {ours.name} is another one in the file", hint=hint)
    check_same_weights(source, architecture)


def _without_outputs(readout: LayerDescription) -> LayerDescription:
    def plain(operation: Operation) -> Operation:
        if not isinstance(operation, Linear):
            return operation
        return operation.model_copy(update={"out_features": 1})

    connections = tuple(
        c.model_copy(update={"operations": (*c.operations[:-1], *map(plain, c.operations[-1:]))})
        for c in readout.connections
    )
    return readout.model_copy(update={"connections": connections})


def check_same_weights(source: Architecture, architecture: Architecture) -> None:
    """Raise UserConfigError where a weight has another shape than in `source`, but for as many rows
    of the readout as there are classes: where the weights depend on it, that of other samples."""
    *theirs, their_readout = source.weight_shapes()
    *ours, our_readout = architecture.weight_shapes()
    if theirs != ours or their_readout[1:] != our_readout[1:]:
        raise UserConfigError(
            f"its network is one for samples of {_times(source.input_shape)}, and its weights do "
            f"not fit samples of {_times(architecture.input_shape)}",
            hint="take a data set whose samples have as many channels and pixels",
        )


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def trained_layers(architecture: Architecture, freeze: Sequence[str]) -> list[str]:
    """Names of the layers that no pattern of `freeze` names, the readout with them.

    `*` alone is every layer but the readout. Raises UserConfigError where a pattern names no layer,
    and where nothing is left to train.
    """
    readout = architecture.readout.name
    names = [*(layer.name for layer in architecture.layers), readout]
    frozen: set[str] = set()
    for pattern in freeze:
        hit = {name for name in names if fnmatchcase(name, pattern)}
        if not hit:
            raise UserConfigError(
                f'init.freeze names "{pattern}", and the network has no such layer',
                hint=f"its layers are {', '.join(names)}",
            )
        frozen |= hit - {readout} if pattern == "*" else hit
    if frozen.issuperset(names):
        raise UserConfigError(
            "init.freeze leaves nothing to train", hint="leave a layer or the readout out of it"
        )
    return [name for name in names if name not in frozen]
