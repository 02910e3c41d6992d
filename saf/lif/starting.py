"""What a job takes over of a LIF network that it starts from, so that it begins with the same
spikes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from saf.config.methods import with_readout_of
from saf.config.neurons import NEURONS
from saf.lif.header import LIFDescription
from saf.lif.network import LIFNetwork


def settings_of(network: LIFNetwork) -> dict[str, Any]:
    """The settings of a specification with which a job that has the weights of `network` spikes as
    it does: network, neuron, timesteps, method, and encoding, presentation, grid and precision
    where they are needed. Values of JSON. Raises ValueError where no job has such neurons."""
    of = network.description
    settings: dict[str, Any] = {
        "network": {
            "name": "uploaded",
            "description": of.architecture.model_dump(mode="json"),
            "mean": list(of.mean),
            "std": list(of.std),
        },
        "neuron": (neuron := _neuron(of)),
        "timesteps": of.timesteps,
        "method": _method(of, str(neuron["name"])),
    }
    shown: dict[str, Any] = {} if of.encoding is None else {"encoding": of.encoding}
    if of.image is not None:
        shown["present"] = of.image.present
    if shown:
        settings["input"] = shown
    if of.grid is not None:
        settings["conversion"] = {"grid_bits": of.grid.bits}
    if network.dtype == torch.float64:
        settings["precision"] = "float64"
    return settings


def taken_over(body: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A specification, as sent, with those `settings` of the network that it starts from which it
    does not say itself; the readout is one of them, also where it names a method."""
    taken = {**settings, **body}
    return {**taken, "method": with_readout_of(taken["method"], settings["method"])}


def _neuron(of: LIFDescription) -> dict[str, Any]:
    """The settings of the neurons of all layers."""
    plain = {"name": "lif", "decay": of.decay, "threshold": of.threshold}
    if not of.neurons:
        return plain
    of_layers = [of.neurons.get(layer.name, plain) for layer in of.architecture.spiking]
    first = of_layers[0]
    if _are_alike(of_layers) and first["decay"] == of.decay:
        return dict(first)
    if _are_alike([{**each, "decay": of.decay} for each in of_layers]):
        decays = [each["decay"] for each in of_layers]
        return {**first, "decay": of.decay, "decays": decays}
    odd = next(
        layer.name
        for layer, each in zip(of.architecture.spiking, of_layers, strict=True)
        if each != plain
    )
    models = ", ".join(sorted({str(each["name"]) for each in of_layers} & {*NEURONS.members()}))
    raise ValueError(
        "a job has neurons of one kind in all layers, which may differ in λ alone, and those of "
        f"the file differ in more ({models}; {odd} is the first that is no LIF neuron with the λ "
        "and V of the file)"
    )


def _method(of: LIFDescription, neuron: str) -> dict[str, Any]:
    """A method that trains such neurons and reads the scores off as the file does."""
    if NEURONS[neuron].lacks:
        return {"name": "ottt-a", "readout": of.readout}
    if of.readout == "weighted":
        return {"name": "saf-f"}
    return {"name": "saf-e", "readout": of.readout}


def _are_alike(constants: Iterable[Mapping[str, Any]]) -> bool:
    first, *others = constants
    return all(each == first for each in others)
