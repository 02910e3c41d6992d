"""A LIF network under construction, map by map and layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from saf.lif.header import LIFDescription
from saf.lif.network import LIFNetwork
from saf.networks.architecture import (
    INPUT,
    Architecture,
    Connection,
    Conv,
    Flatten,
    LayerDescription,
    Linear,
    Operation,
    Scale,
    Shape,
)
from saf.tensorfile import in_short

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Incoming:
    """A network that was read, and what was taken to be so because the file does not say it."""

    network: LIFNetwork
    source: str
    """`lif`, `nir` or `weights`."""
    assumptions: tuple[str, ...] = ()


@dataclass
class Stack:
    """Layers one after the other. Every method raises ValueError where shapes do not fit."""

    input_shape: Shape
    layers: list[LayerDescription] = field(default_factory=list)
    tensors: dict[str, Array] = field(default_factory=dict)
    neurons: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shape = self.input_shape
        self._source = INPUT
        self._operations: list[Operation] = []
        self._weights: list[Array] = []
        self._bias: Array | None = None  # of the last map, per channel, where it is not 0
        self._relays = 0

    @property
    def is_spiking(self) -> bool:
        """Whether what arrives next are the spikes of a layer, with no map in between."""
        return bool(self.layers) and not self.layers[-1].relay and not self._operations

    def add(self, operation: Operation, weight: Array | None = None, bias: Any = None) -> None:
        """A linear operation on what arrives."""
        if self._bias is not None:
            # A layer has one bias, after all of its maps: what adds one before is a relay.
            self._relays += 1
            self._end(f"map{self._relays}", relay=True)
        shape = operation.output_shape(self.shape)
        self._operations.append(operation)
        if weight is not None:
            self._weights.append(np.asarray(weight, np.float64))
            self._bias = None if bias is None or not np.any(bias) else np.asarray(bias, np.float64)
        self.shape = shape

    def fire(self, factor: Array, shift: Array, constants: Mapping[str, Any]) -> None:
        """Neurons, whose input is multiplied by `factor` and shifted by `shift`, one each for every
        channel."""
        number = sum(not layer.relay for layer in self.layers) + 1
        self._scaled(factor)
        self._bias = self._of_channels() + shift
        name = f"layer{number}"
        self.neurons[name] = dict(constants)
        self._end(name)

    def _of_channels(self) -> Array:
        return np.zeros(self.shape[0]) if self._bias is None else self._bias

    def _scaled(self, factor: Array) -> None:
        if np.all(factor == 1):
            return
        self._bias = self._of_channels() * factor
        follows_channels = not any(
            isinstance(each, Flatten) for each in self._operations[self._last_map() + 1 :]
        )
        if self._weights and self._last_map() >= 0 and follows_channels:
            last = self._weights[-1]
            self._weights[-1] = last * factor.reshape(-1, *(1,) * (last.ndim - 1))
        elif np.all(factor == factor[0]):
            self._operations.append(Scale(factor=float(factor[0])))
        else:
            raise ValueError(
                "its channels have different thresholds or gains, and there is no map before it "
                "that could take them in"
            )

    def _last_map(self) -> int:
        places = [i for i, each in enumerate(self._operations) if isinstance(each, Conv | Linear)]
        return places[-1] if places else -1

    def _end(self, name: str, *, relay: bool = False) -> None:
        connection = Connection(source=self._source, operations=tuple(self._operations))
        self.layers.append(LayerDescription(name=name, connections=(connection,), relay=relay))
        for number, weight in enumerate(self._weights):
            self.tensors[f"{name}.{number}.weight"] = weight
        self.tensors[f"{name}.bias"] = self._of_channels()
        self._source, self._operations, self._weights, self._bias = name, [], [], None

    def finish(
        self,
        *,
        timesteps: int,
        decay: float,
        threshold: float,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        record: Mapping[str, Any],
    ) -> LIFNetwork:
        """The network: what is left of maps is its readout, or the count of the last spikes."""
        if len(self.shape) == 3 and self.shape[1:] == (1, 1):
            self.add(Flatten())
        if len(self.shape) != 1:
            raise ValueError(
                f"it ends in {' × '.join(map(str, self.shape))} values, and a classifier ends in "
                "one for each class: end it in a linear map"
            )
        if not self._weights:  # the classes are the neurons themselves
            classes = self.shape[0]
            self.add(Linear(out_features=classes), np.eye(classes))
        self._end("readout")
        *layers, readout = self.layers
        plain = {"name": "lif", "decay": decay, "threshold": threshold}
        channels = self.input_shape[0]
        try:
            description = LIFDescription(
                architecture=Architecture(
                    input_shape=self.input_shape, layers=tuple(layers), readout=readout
                ),
                decay=decay,
                threshold=threshold,
                timesteps=timesteps,
                readout="mean",
                neurons={name: of for name, of in self.neurons.items() if of != plain},
                frames=False,
                mean=mean or (0.0,) * channels,
                std=std or (1.0,) * channels,
                class_names=tuple(map(str, range(self.shape[0]))),
                specification={"imported": dict(record)},
            )
        except ValidationError as error:
            raise ValueError(in_short(error)) from error
        return LIFNetwork(
            description,
            {
                name: torch.from_numpy(np.ascontiguousarray(value, np.float32))
                for name, value in self.tensors.items()
            },
        )


def plain_map(weight: Array, **of_conv: int) -> Conv | Linear:
    """The operation of a weight: a matrix, or a convolution with a square kernel."""
    if weight.ndim == 2:
        return Linear(out_features=len(weight), standardised=False)
    return Conv(out_channels=len(weight), kernel=weight.shape[-1], standardised=False, **of_conv)
