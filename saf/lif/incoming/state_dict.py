"""The weights of a ReLU network in a safetensors file, matched to the maps of a network.

A state dict says neither what follows what nor where values are pooled: that is the network that is
asked for, and every weight has to have the shape that it needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from saf.networks.architecture import Architecture, Shape
from saf.printable import one_line
from saf.tensorfile import MOST_TENSORS, in_short

Array = NDArray[np.float64]
EPSILON = 1e-5  # of BatchNorm, unless its layer was made with another
OF_NORM = ("running_mean", "running_var")
KNOWN = {"weight", "bias", *OF_NORM, "num_batches_tracked"}


@dataclass(frozen=True)
class Module:
    """The tensors of one module of a state dict."""

    name: str
    tensors: Mapping[str, Array]

    @property
    def is_norm(self) -> bool:
        """Whether it is a BatchNorm."""
        return "running_mean" in self.tensors

    @property
    def weight(self) -> Array:
        """Of a map: `out in` or `out in k k`."""
        return self.tensors["weight"]


@dataclass(frozen=True)
class Matched:
    """The weight and bias of a map of the network, BatchNorm folded in."""

    layer: str
    weight: Array
    bias: Array
    said: str


def modules_of(path: Path) -> list[Module]:
    """The modules of a state dict, by name. Raises ValueError for what is none that is known."""
    found: dict[str, dict[str, Array]] = {}
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = list(file.keys())
            if len(names) > MOST_TENSORS:
                raise ValueError(f"it has {len(names)} tensors; at most {MOST_TENSORS} are read")
            for name in names:
                module, _, what = name.rpartition(".")
                tensor = file.get_tensor(name)
                if what not in KNOWN:
                    raise ValueError(
                        f"tensor {one_line(name)[:100]} is none of a convolution, a linear map or "
                        "a BatchNorm"
                    )
                if what != "num_batches_tracked" and not tensor.is_floating_point():
                    raise ValueError(
                        f"tensor {one_line(name)[:100]} is {tensor.dtype}, and what its whole "
                        "numbers are multiplied by is not in the file; send weights as floats"
                    )
                if not bool(torch.isfinite(tensor.double()).all()):
                    raise ValueError(
                        f"tensor {one_line(name)[:100]} has values that are no numbers"
                    )
                found.setdefault(module, {})[what] = tensor.double().numpy()
    except (SafetensorError, OSError, RuntimeError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path.name} is damaged or no safetensors file: {in_short(error)}"
        ) from error
    return [_checked(Module(name, tensors)) for name, tensors in found.items()]


def _checked(module: Module) -> Module:
    name, tensors = one_line(module.name)[:100], module.tensors
    if module.is_norm:
        if not set(OF_NORM) <= tensors.keys():
            raise ValueError(f"{name} has no running_var, which a BatchNorm is folded with")
        lengths = {value.shape for what, value in tensors.items() if what != "num_batches_tracked"}
        if len(lengths) != 1 or len(min(lengths)) != 1:
            raise ValueError(f"the tensors of {name} have the shapes {sorted(lengths)}")
        return module
    if "weight" not in tensors:
        raise ValueError(f"{name} has no weight")
    if module.weight.ndim not in (2, 4):
        raise ValueError(
            f"tensor {name}.weight has the shape {module.weight.shape}; convolutions (out in k k), "
            "linear maps (out in) and BatchNorm are read"
        )
    bias = tensors.get("bias")
    if bias is not None and bias.shape != (len(module.weight),):
        raise ValueError(
            f"tensor {name}.bias has the shape {bias.shape}, and {name}.weight has "
            f"{module.weight.shape}"
        )
    return module


def classes_of(modules: Sequence[Module], order: Sequence[str]) -> int:
    """The outputs of the last linear map."""
    maps, _ = ordered(modules, order)
    linear = [each for each in maps if each.weight.ndim == 2]
    if not linear:
        raise ValueError("the file has no linear map, which a classifier ends in")
    return len(linear[-1].weight)


def ordered(
    modules: Sequence[Module], order: Sequence[str]
) -> tuple[list[Module], dict[str, list[Module]]]:
    """The maps in the order in which they are computed, convolutions before linear maps, and by
    their names the BatchNorms behind each."""
    if order:
        return _as_told(modules, order)
    maps = [each for each in modules if not each.is_norm]
    found: list[Module] = []
    for dimensions, what in ((4, "convolutions"), (2, "linear maps")):
        found += _by_number([each for each in maps if each.weight.ndim == dimensions], what)
    norms: dict[str, list[Module]] = {}
    for norm in (each for each in modules if each.is_norm):
        norms.setdefault(_before(norm, found, modules).name, []).append(norm)
    return found, norms


def _as_told(
    modules: Sequence[Module], order: Sequence[str]
) -> tuple[list[Module], dict[str, list[Module]]]:
    by_name = {each.name: each for each in modules}
    if unknown := [name for name in order if name not in by_name]:
        raise ValueError(f"order names {unknown[0]!r}, and the file has {_names(modules)}")
    if missing := by_name.keys() - set(order):
        raise ValueError(f"order does not name {min(missing)}")
    maps: list[Module] = []
    norms: dict[str, list[Module]] = {}
    for module in (by_name[name] for name in order):
        if not module.is_norm:
            maps.append(module)
        elif maps:
            norms.setdefault(maps[-1].name, []).append(module)
        else:
            raise ValueError(f"{module.name} is a BatchNorm before the first map")
    return maps, norms


def _names(modules: Iterable[Module]) -> str:
    return ", ".join(one_line(each.name) for each in modules)[:500]


def _numbered(name: str) -> tuple[str, tuple[int, ...]]:
    """A name without its numbers, and these."""
    return re.sub(r"\d+", "#", name), tuple(map(int, re.findall(r"\d+", name)[:8]))


def _by_number(maps: list[Module], what: str) -> list[Module]:
    if len({_numbered(each.name)[0] for each in maps}) > 1:
        raise ValueError(
            f"the names of the {what} ({_names(maps)}) do not tell their order; send order with "
            "the names of all modules, the BatchNorms too, as they are computed"
        )
    return sorted(maps, key=lambda each: _numbered(each.name)[1])


def _before(norm: Module, maps: Sequence[Module], modules: Sequence[Module]) -> Module:
    """The map behind which a BatchNorm comes: the one right before it in a Sequential, or the one
    with its number."""
    parent, _, own = norm.name.rpartition(".")
    channels = len(norm.tensors["running_mean"])
    candidates = []
    if own.isdigit():
        siblings = [each for each in maps if each.name.rpartition(".")[0] == parent]
        numbers = [each for each in siblings if each.name.rpartition(".")[2].isdigit()]
        before = [each for each in numbers if int(each.name.rpartition(".")[2]) < int(own)]
        candidates = before[-1:]
    else:
        mine = _numbered(norm.name)[1]
        candidates = [each for each in maps if mine and _numbered(each.name)[1] == mine]
    candidates = [each for each in candidates if len(each.weight) == channels]
    if len(candidates) != 1:
        raise ValueError(
            f"which map the BatchNorm {one_line(norm.name)} of {channels} channels follows is not "
            "told by its name; send order with the names of all modules as they are computed"
        )
    if own.isdigit():
        prefix, known = f"{parent}." if parent else "", {each.name for each in modules}
        for number in range(int(candidates[0].name.rpartition(".")[2]) + 1, int(own)):
            if f"{prefix}{number}" not in known:
                raise ValueError(
                    f"between {one_line(candidates[0].name)} and the BatchNorm "
                    f"{one_line(norm.name)} is a module without weights, and a BatchNorm behind a "
                    "ReLU cannot be folded; if it is none (pooling, dropout), send order with the "
                    "names of all modules as they are computed"
                )
    return candidates[0]


def matched(
    modules: Sequence[Module], order: Sequence[str], architecture: Architecture
) -> list[Matched]:
    """The weights of each map of `architecture`, in its order. Raises ValueError, which names the
    tensor and both shapes."""
    maps, norms = ordered(modules, order)
    needed = list(_needed(architecture))
    if len(maps) != len(needed):
        raise ValueError(
            f"the file has {len(maps)} maps ({_names(maps)}), and the network {len(needed)} "
            f"({', '.join(layer for layer, _ in needed)})"
        )
    return [
        _one(module, norms.get(module.name, []), layer, shape)
        for module, (layer, shape) in zip(maps, needed, strict=True)
    ]


def _needed(architecture: Architecture) -> Iterator[tuple[str, Shape]]:
    shapes = architecture.weight_shapes()
    for layer in (*architecture.layers, architecture.readout):
        for connection in layer.connections:
            for operation in connection.operations:
                if operation.kind in ("conv", "linear"):
                    yield layer.name, next(shapes)


def _one(module: Module, norms: Sequence[Module], layer: str, shape: Shape) -> Matched:
    weight, name = module.weight, one_line(module.name)
    full = f"{name}.weight" if name else "weight"
    if weight.shape != shape:
        raise ValueError(
            f"tensor {full} has the shape {weight.shape}, and {layer} of the network needs {shape}"
        )
    bias = module.tensors.get("bias", np.zeros(len(weight)))
    said = f"{layer}: {full}"
    for norm in norms:
        of = norm.tensors
        width = np.sqrt(of["running_var"] + EPSILON)
        factor = of.get("weight", np.ones(len(width))) / width
        if len(factor) != len(weight):
            raise ValueError(
                f"{one_line(norm.name)} has {len(factor)} channels, and {full} {len(weight)}"
            )
        weight = weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))
        bias = (bias - of["running_mean"]) * factor + of.get("bias", 0.0)
        said += f", with the BatchNorm {one_line(norm.name)} folded in (eps {EPSILON:g})"
    return Matched(layer, weight, bias, said)
