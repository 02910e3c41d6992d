"""An NIR file, as anybody may have made it: a plain stack of maps and neurons becomes a network.

The file is HDF5. It is read by the checks of `saf.data.sources.hdf5`, so that it reaches no other
file and takes bounded memory, and becomes nodes by the library `nir`; nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saf.config.incoming import Reading
from saf.config.job import TIMESTEPS
from saf.data.sources.hdf5 import MAGIC, datasets
from saf.errors import DataError
from saf.lif.incoming.conventions import CONVENTIONS, Neurons, neurons_of
from saf.lif.incoming.stack import Incoming, Stack, plain_map
from saf.networks.architecture import AveragePool, Flatten, Scale, Shape, SumPool
from saf.printable import one_line

__all__ = ["MAGIC", "read_nir"]

MOST_BYTES = 2**30  # of all values of a file
LARGE = 2.0**15  # what is added and taken away to round
NEURONS = ("IF", "LIF", "CubaLIF")
KNOWN = {
    *NEURONS,
    *("Affine", "Linear", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten", "Scale"),
    *("Input", "Output", "NIRGraph"),
}
Array = NDArray[np.float64]


def read_nir(path: Path, reading: Reading) -> Incoming:
    """The network of an NIR file. Raises ValueError, which names the node, and
    ModuleNotFoundError without the extra `export`."""
    import nir

    root = _tree(path)
    for name, node in _nodes(root):
        kind = node.get("type")
        if not isinstance(kind, str) or kind not in KNOWN:
            raise _cannot(name, str(kind), "there is nothing here that computes such a node")
        if kind == "NIRGraph":
            raise _cannot(name, kind, "a graph inside of the graph (recurrence) is not read")
    try:
        graph = nir.dict2NIRNode({**root, "type_check": False})
    except Exception as error:  # asserts, KeyErrors and TypeErrors of the library
        raise ValueError(
            f"{path.name} is no graph that nir {nir.version} reads: {one_line(str(error))[:300]}"
        ) from error
    if not isinstance(graph, nir.NIRGraph):
        raise ValueError(f"{path.name} holds a single {type(graph).__name__}, and no graph")
    try:
        return _network(_chain(graph), reading)
    except (TypeError, AttributeError, LookupError, ArithmeticError) as error:
        # A field of another kind than the library says: it checks none.
        raise ValueError(f"{path.name} is no graph of NIR: {one_line(str(error))[:300]}") from error


def _tree(path: Path) -> dict[str, Any]:
    """The values of the file as dictionaries in one another."""
    import h5py

    found: dict[str, Any] = {}
    size = 0
    try:
        with h5py.File(path, "r") as file:
            for name, dataset in datasets(file, path.name):
                size += dataset.size * dataset.dtype.itemsize
                if size > MOST_BYTES:
                    raise ValueError(f"{path.name} holds more than {MOST_BYTES:,} bytes of values")
                if not (dataset.dtype.kind in "iufb" or h5py.check_string_dtype(dataset.dtype)):
                    raise ValueError(f"{path.name}: {name!r} is neither numbers nor text")
                *groups, last = name.split("/")
                place = found
                for group in groups:
                    place = place.setdefault(group, {})
                    if not isinstance(place, dict):
                        raise ValueError(f"{path.name}: {name!r} is damaged")
                value = dataset[()]
                place[last] = value.decode("utf-8") if isinstance(value, bytes) else value
    except DataError as error:
        raise ValueError(f"{error}; {error.hint}") from error
    except (OSError, RuntimeError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is damaged: {one_line(str(error))[:200]}") from error
    root = found.get("node")
    if not isinstance(root, dict) or not isinstance(root.get("nodes"), dict):
        raise ValueError(f"{path.name} is an HDF5 file and holds no graph of NIR")
    return root


def _nodes(root: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, node in root["nodes"].items():
        if not isinstance(node, dict):
            raise ValueError(f"node {one_line(name)} is damaged")
        yield name, node


def _cannot(name: str, kind: str, reason: str) -> ValueError:
    return ValueError(f"node {one_line(name)[:64]} ({one_line(kind)[:64]}): {reason}")


def _chain(graph: Any) -> list[tuple[str, str, Any]]:
    """Name, kind and node of all nodes from input to output."""
    kinds = {name: type(node).__name__ for name, node in graph.nodes.items()}
    begin = [name for name, kind in kinds.items() if kind == "Input"]
    if len(begin) != 1 or list(kinds.values()).count("Output") != 1:
        raise ValueError("the graph has not one input and one output")
    after: dict[str, list[str]] = {}
    before: dict[str, list[str]] = {}
    for one, other in graph.edges:
        if one not in kinds or other not in kinds:
            raise ValueError(f"an edge leads from {one_line(one)} to {one_line(other)}: no node")
        after.setdefault(one, []).append(other)
        before.setdefault(other, []).append(one)
    found, here = [], begin[0]
    for _ in kinds:
        if len(set(before.get(here, []))) > 1:
            heard = ", ".join(map(one_line, before[here]))
            raise _cannot(
                here,
                kinds[here],
                f"it hears {heard}, and networks whose connections branch or recur are not read; "
                "send a plain stack of layers",
            )
        found.append((here, kinds[here], graph.nodes[here]))
        if kinds[here] == "Output":
            break
        following = after.get(here, [])
        if len(following) != 1:
            raise _cannot(here, kinds[here], f"it leads to {len(following)} nodes, not to one")
        here = following[0]
    if found[-1][1] != "Output":
        raise ValueError("the graph has a cycle (recurrence), which is not read")
    if unheard := kinds.keys() - {name for name, *_ in found}:
        raise ValueError(f"node {one_line(min(unheard))[:64]} is on no way from input to output")
    return found


def _network(chain: list[tuple[str, str, Any]], reading: Reading) -> Incoming:
    said: list[str] = []
    shape = _input_shape(chain[0][2], reading.shape)
    stack = Stack(shape)
    chain = _without_rounding(chain, said)
    neurons = {
        name: _of_node(name, kind, node, reading) for name, kind, node in chain if kind in NEURONS
    }
    if not neurons:
        raise ValueError("the graph has no spiking neurons")
    thresholds = np.unique(np.concatenate([np.ravel(each.threshold) for each in neurons.values()]))
    # In as few digits as say it: float32 has moved 0.9.
    threshold = float(str(thresholds[0])) if len(thresholds) == 1 else 1.0
    decays = [each.decay for each in neurons.values()]
    last = CONVENTIONS[reading.reader or "nir"].channels_last
    is_input_flat = np.size(chain[0][2].input_type["input"]) == 1
    maps: Shape = ()  # that the node before has flattened
    for name, kind, node in chain:
        before = stack.shape
        is_flat = is_input_flat and before == shape
        try:
            if kind in NEURONS:
                if is_flat:
                    stack.add(Flatten())
                _fire(stack, neurons[name], threshold)
            else:
                _map(stack, kind, node, maps if last else (), is_flat=is_flat)
                flattens = kind == "Flatten" and len(before) == 3
                maps = before if flattens else ()
        except ValueError as error:
            raise _cannot(name, kind, str(error)) from error
    if stack.is_spiking:
        said.append("the graph ends in neurons: the scores are the counts of their spikes")
    if len(thresholds) > 1:
        said.append("neurons have several thresholds: they are divided into the weights, V = 1")
    said += _assumed(reading, any(kind != "IF" for _, kind, _ in chain if kind in NEURONS))
    network = stack.finish(
        timesteps=reading.timesteps or TIMESTEPS,
        decay=decays[0],
        threshold=threshold,
        mean=reading.mean,
        std=reading.std,
        record={
            "from": "nir",
            "reading": reading.model_dump(mode="json", exclude_unset=True),
            "assumptions": said,
        },
    )
    return Incoming(network, "nir", tuple(said))


def _assumed(reading: Reading, leaks: bool) -> Iterator[str]:
    convention = CONVENTIONS[reading.reader or "nir"]
    if leaks:
        decay = "exp(−dt/τ)" if convention.exponential else "1 − dt/τ"
        gain = "inputs as they are" if convention.unit_gain else "inputs times r dt/τ"
        yield f"read as {convention.label} reads it: a decay of {decay}, {gain}"
    yield "a neuron that fires subtracts its threshold" + (
        "" if convention.subtracts else ", as was asked for, and not as the file says"
    )
    if convention.remark:
        yield convention.remark
    yield from assumed_of_input(reading, TIMESTEPS)


def assumed_of_input(reading: Reading, timesteps: int) -> Iterator[str]:
    """What neither NIR nor weights say of the input."""
    if reading.timesteps is None:
        yield f"T = {timesteps}, as the file does not say it (timesteps)"
    if not reading.mean:
        yield "the input is taken as values in [0, 1], without mean and std (mean, std)"


def _without_rounding(
    chain: list[tuple[str, str, Any]], said: list[str]
) -> list[tuple[str, str, Any]]:
    """The chain without the pairs of maps x + M, x − M that round the input of a network on a
    grid (docs/exports.md)."""
    kept: list[tuple[str, str, Any]] = []
    at = 0
    while at < len(chain):
        pair = [_added(node) for _, _, node in chain[at : at + 2]]
        if len(pair) == 2 and pair[0] is not None and pair[1] == -pair[0] and pair[0] >= LARGE:
            said.append(
                f"nodes {one_line(chain[at][0])} and {one_line(chain[at + 1][0])} round the "
                "current of the input to a grid and were left out: train with conversion.grid_bits "
                "for another one"
            )
            at += 2
            continue
        kept.append(chain[at])
        at += 1
    return kept


def _added(node: Any) -> float | None:
    """The number that a map adds to everything, where it does nothing else."""
    weight, bias = getattr(node, "weight", None), getattr(node, "bias", None)
    if weight is None or bias is None or len(weight) != weight.shape[1] or len(np.unique(bias)) > 1:
        return None
    if weight.ndim == 4 and weight.shape[2:] != (1, 1):
        return None
    matrix = weight.reshape(len(weight), -1)
    return float(np.ravel(bias)[0]) if np.array_equal(matrix, np.eye(len(matrix))) else None


def _input_shape(node: Any, asked: Shape | None) -> Shape:
    """C H W of a sample; of one that is flat, `asked` may say it."""
    shape = tuple(int(each) for each in np.ravel(node.input_type["input"]))
    if asked is not None and prod(asked) != prod(shape):
        raise ValueError(f"its input has the shape {shape}, which is not {asked}, as shape says")
    if len(shape) == 1:
        return asked or (*shape, 1, 1)
    if len(shape) != 3:
        raise ValueError(
            f"its input has the shape {shape}; C H W, or features alone, can be trained here"
        )
    return shape


def _of_node(name: str, kind: str, node: Any, reading: Reading) -> Neurons:
    try:
        return neurons_of(kind, node, reading)
    except ValueError as error:
        raise _cannot(name, kind, str(error)) from error


def _fire(stack: Stack, of: Neurons, threshold: float) -> None:
    channels, shape = stack.shape[0], stack.shape

    def per_channel(values: NDArray[np.float32], what: str) -> Array:
        try:
            full = np.broadcast_to(values, shape).reshape(channels, -1)
        except ValueError:
            raise ValueError(f"its {what} has the shape {values.shape}, not {shape}") from None
        if np.any(full != full[:, :1]):
            raise ValueError(
                f"its {what} differs within a channel, and layers here have one for a channel"
            )
        return np.asarray(full[:, 0], np.float64)

    own = per_channel(of.threshold, "threshold")
    same = own == np.float32(threshold)
    rescaled = np.where(same, 1.0, threshold / own)
    factor = per_channel(of.gain, "r") * rescaled
    shift = per_channel(of.shift, "v_leak") * rescaled
    constants: dict[str, Any] = {"name": "lif", "decay": of.decay, "threshold": threshold}
    if of.synaptic_decay is not None:
        constants |= {"name": "cuba", "synaptic_decay": of.synaptic_decay}
    stack.fire(factor, shift, constants)


def _map(stack: Stack, kind: str, node: Any, maps: Shape, *, is_flat: bool) -> None:
    """Add a map; `maps`, C H W, were flattened as H W C before it. `is_flat`: what it gets is."""
    if kind in ("Input", "Output"):
        return
    if kind in ("Affine", "Linear"):
        if len(stack.shape) == 3 and (stack.shape[1:] == (1, 1) or is_flat):
            stack.add(Flatten())
        weight = np.asarray(node.weight)
        if weight.ndim != 2 or stack.shape != (weight.shape[1],):
            raise ValueError(f"a matrix of {weight.shape} does not fit {stack.shape} values")
        if maps:
            channels, *sides = maps
            weight = weight.reshape(-1, *sides, channels).transpose(0, 3, 1, 2)
            weight = weight.reshape(len(weight), -1)
        stack.add(plain_map(weight), weight, getattr(node, "bias", None))
    elif kind == "Conv2d":
        weight = np.asarray(node.weight)
        groups = int(node.groups)
        if weight.ndim != 4 or weight.shape[1] * groups != stack.shape[0]:
            raise ValueError(f"a kernel of {weight.shape} does not fit {stack.shape} values")
        if weight.shape[2] != weight.shape[3]:
            raise ValueError(f"its kernel has {weight.shape[2:]} pixels, and a square is needed")
        if _one(node.dilation, "dilation") != 1:
            raise ValueError("its kernel is dilated, which is not computed here")
        stride = _one(node.stride, "stride")
        padding = _padding(node.padding, weight.shape[3], stride)
        operation = plain_map(weight, stride=stride, padding=padding, groups=groups)
        stack.add(operation, weight, node.bias)
    elif kind in ("SumPool2d", "AvgPool2d"):
        kernel, stride = _one(node.kernel_size, "kernel_size"), _one(node.stride, "stride")
        if kernel != stride or np.any(node.padding):
            raise ValueError(
                "it pools over windows that overlap or are padded; windows side by side are needed"
            )
        stack.add((SumPool if kind == "SumPool2d" else AveragePool)(kernel=kernel))
    elif kind == "Flatten":
        last = int(node.end_dim) % max(1, len(stack.shape))
        if int(node.start_dim) != 0 or last != len(stack.shape) - 1:
            raise ValueError(
                f"it flattens dimensions {node.start_dim} to {node.end_dim}, and not all of a "
                "sample (0 to -1)"
            )
        if len(stack.shape) > 1:
            stack.add(Flatten())
    else:
        stack.add(Scale(factor=_factor(node.scale)))


def _factor(scale: Any) -> float:
    found = np.unique(np.asarray(scale, np.float64))
    if len(found) != 1:
        raise ValueError("its factors differ; one factor is needed, or a map")
    return float(found[0])


def _one(value: Any, what: str) -> int:
    found = np.unique(np.ravel(value))
    if len(found) != 1 or found[0] != int(found[0]):
        raise ValueError(f"its {what} is {np.ravel(value).tolist()}, and has to be one number")
    return int(found[0])


def _padding(padding: Any, kernel: int, stride: int) -> int:
    if isinstance(padding, str | bytes):
        name = padding.decode() if isinstance(padding, bytes) else padding
        if name == "valid":
            return 0
        if name == "same" and stride == 1 and kernel % 2:
            return kernel // 2
        raise ValueError(f"its padding is {name!r}; give it in pixels")
    return _one(padding, "padding")
