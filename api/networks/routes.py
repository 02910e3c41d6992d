"""What can be chosen: networks, methods, neurons, surrogates, and targets of exports.

All of it is read from `saf.config`; this module adds no choice and no default.
"""

from __future__ import annotations

import inspect
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from api.web.schemas import Document, Listing
from saf import config
from saf.config.networks import NETWORKS
from saf.config.neurons import SURROGATES
from saf.config.targets import TARGETS

router = APIRouter(prefix="/v1", tags=["choices"])


class Choice(Document):
    """Something that a specification can name."""

    object: Literal["network", "method", "neuron", "surrogate", "target"]
    name: str
    label: str
    """What people read in place of the name."""
    description: str
    defaults: dict[str, Any]
    """The object to send, with every key that has a default."""
    parameters: dict[str, Any]
    """Each key as a JSON schema: type, limits, default, meaning."""


class TargetDocument(Choice):
    """A tool or a chip that a converted network can be carried to."""

    can: list[str]
    """What it expresses."""
    cannot: list[str]
    """What it does not; a network with it is refused, with the layer and the reason."""
    packages: list[str]
    """What writing and replaying need beside the library."""


def networks() -> list[Choice]:
    """The networks that can be trained."""
    return [_choice("network", member) for member in NETWORKS]


def methods() -> list[Choice]:
    """The methods to train by."""
    return [_choice("method", member) for member in config.METHODS]


def neurons() -> list[Choice]:
    """The models of spiking neurons."""
    return [_choice("neuron", member) for member in config.NEURONS]


def surrogates() -> list[Choice]:
    """The stand-ins for the derivative of a spike."""
    return [_choice("surrogate", member) for member in SURROGATES]


@router.get("/networks", summary="Networks that can be trained")
def list_networks() -> Listing[Choice]:
    """With defaults and limits."""
    return _listing(networks())


@router.get("/methods", summary="Methods to train by")
def list_methods() -> Listing[Choice]:
    """With defaults and limits."""
    return _listing(methods())


@router.get("/neurons", summary="Neuron models")
def list_neurons() -> Listing[Choice]:
    """With defaults and limits."""
    return _listing(neurons())


@router.get("/surrogates", summary="Surrogate derivatives")
def list_surrogates() -> Listing[Choice]:
    """With defaults and limits."""
    return _listing(surrogates())


@router.get("/exports", summary="Targets of exports")
def list_targets() -> Listing[TargetDocument]:
    """Tools and chips that a converted network can be carried to by `saf export`."""
    found = [
        TargetDocument(
            **_choice("target", target).model_dump(),
            can=list(target.can),
            cannot=list(target.cannot),
            packages=[*target.packages, *target.readers],
        )
        for target in TARGETS
    ]
    return Listing(data=found, first_id=found[0].name, last_id=found[-1].name)


def _choice(
    kind: Literal["network", "method", "neuron", "surrogate", "target"], model: type[BaseModel]
) -> Choice:
    schema = model.model_json_schema()
    parameters = schema["properties"]
    defaults = {key: entry["default"] for key, entry in parameters.items() if "default" in entry}
    parameters.pop("name")
    for entry in parameters.values():
        if "#/$defs/" in str(entry):
            entry["$defs"] = schema["$defs"]
    return Choice(
        object=kind,
        name=defaults["name"],
        label=getattr(model, "label", "") or defaults["name"],
        description=inspect.cleandoc(model.__doc__ or "").replace("\n", " "),
        defaults=defaults,
        parameters=parameters,
    )


def _listing(choices: list[Choice]) -> Listing[Choice]:
    return Listing(data=choices, first_id=choices[0].name, last_id=choices[-1].name)
