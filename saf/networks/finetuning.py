"""Training from the weights of another one: which networks fit, which layers learn; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from saf.config.networks import Network
from saf.errors import UserConfigError
from saf.networks.architecture import Architecture


def check_same_network(source: Network, network: Network) -> None:
    """Raise UserConfigError unless `network` has the settings of `source`, the one whose weights it
    starts from. What gains start at may differ: the weights replace them."""
    ours, theirs = (n.model_dump(mode="json", exclude={"gain"}) for n in (network, source))
    differs = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    if differs:
        told = ", ".join(f"{key} {theirs.get(key)} and not {ours.get(key)}" for key in differs[:3])
        raise UserConfigError(
            f"the network to start from is another one: it has {told}",
            hint="take the network of the job that init names",
        )


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
