"""The fields of the form that submits a job, read off the JSON schema of `JobSpecification`.

A field that is added to the specification appears in the form by itself; `SECTIONS` says only
where, and `LABELS` how it is called where its name does not say it.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from saf.config import JobSpecification, json_pointer
from saf.config.neurons import SURROGATES

Kind = Literal["text", "number", "integer", "check", "select", "checks", "list", "json", "pairs"]
Schema = Mapping[str, Any]

LABELS = {
    "/name": "Name",
    "/dataset": "Data set",
    "/input/encoding": "Encoding of the input",
    "/input/present": "Images are shown",
    "/input/encoding/seed": "What the encoding is drawn from",
    "/network/channels": "Channels of each layer",
    "/network/features": "Neurons of each layer",
    "/network/layers": "Layers (JSON)",
    "/network/description": "Layers and connections of the file (JSON)",
    "/network/mean": "Mean of each channel",
    "/network/std": "Deviation of each channel",
    "/network/width": "Width factor",
    "/method/trace_bias_and_input": "Trace on bias and first layer",
    "/method/update": "The optimizer steps once per",
    "/network/delays": "Delays (time steps)",
    "/network/kernel": "Places that a convolution sees",
    "/network/maps": "Values of a place",
    "/network/learned": "Each weight learns its delay",
    "/network/kernel_width": "Width of the kernel of a learned delay (time steps)",
    "/network/recurrent_scale": "Scale of recurrent spikes",
    "/neuron": "Neurons",
    "/neuron/decay": "Decay λ",
    "/neuron/decays": "Decay λ of each layer",
    "/neuron/synaptic_decay": "Decay of the synaptic current",
    "/neuron/adaptation": "Rise of the threshold at a spike",
    "/neuron/adaptation_decay": "Decay of that rise",
    "/neuron/threshold": "Threshold V",
    "/neuron/surrogate": "Surrogate",
    "/neuron/surrogate/slope": "Slope of the surrogate",
    "/timesteps": "Time steps T",
    "/conversion/grid_bits": "Bits of the weights, for a proof",
    "/conversion/round_decays": "Round learned λ to powers of two",
    "/schedule": "Learning rate over the run",
    "/schedule/warmup_epochs": "Warm-up (epochs)",
    "/loss/mse_share": "Share of squared error in the loss",
    "/loss/label_smoothing": "Label smoothing",
    "/init/job": "Job to start from",
    "/init/network": "Uploaded network to start from",
    "/init/freeze": "Layers that stay as they are there",
    "/network/gain": "Gain of the layers",
    "/patience": "Epochs without a better one (patience)",
    "/validation_share": "Share kept for validation",
    "/conversion/weights": "Weights that are delivered",
    "/conversion/samples": "Test samples of the check",
    "/loss/class_weights": "Weights of the classes",
    "/max_gradient_norm": "Largest norm of the gradient",
    "/average_decay": "Decay of the average of the weights",
    "/augment": "Changes to training images",
    "/max_runtime_seconds": "Longest run time (seconds)",
}
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "What to train": ("name", "dataset", "input", "network", "init"),
    "How it spikes": ("method", "timesteps", "neuron", "conversion"),
    "Training": (
        "epochs",
        "patience",
        "validation_share",
        "batch_size",
        "optimizer",
        "schedule",
        "loss",
        "max_gradient_norm",
        "average_decay",
        "augment",
        "precision",
    ),
}
REST = "The run"
NOT_ASKED = ("/automatic", "/plugins", "/schedule/start_epoch")  # the service writes them
EXAMPLES = {  # what a field without a default begins with
    "/network/layers": [
        {"kind": "conv", "channels": 32},
        {"kind": "average_pool"},
        {"kind": "linear", "features": 128},
    ],
    "/network/description": {
        "input_shape": [1, 8, 8],
        "layers": [
            {
                "name": "layer1",
                "connections": [
                    {
                        "source": "input",
                        "operations": [
                            {"kind": "flatten"},
                            {"kind": "linear", "out_features": 128},
                        ],
                    }
                ],
            }
        ],
        "readout": {
            "name": "readout",
            "connections": [
                {"source": "layer1", "operations": [{"kind": "linear", "out_features": 10}]}
            ],
        },
    },
}
AS_JSON = ("/network/description",)


@dataclass(frozen=True, kw_only=True)
class Field:
    """One input of the form."""

    pointer: str
    """JSON pointer to the value in the specification, and the name of the input."""
    label: str
    kind: Kind
    value: Any
    hint: str = ""
    choices: tuple[str, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    """For each choice of a select, what it is."""
    minimum: float | None = None
    maximum: float | None = None
    required: bool = True
    is_automatic: bool = False
    """Whether "auto" is a value, which an empty input means."""
    may_be_none: bool = False
    """Whether null is a value; "none" means it."""
    when: tuple[str, str] | None = None
    """The pointer of a select and the choice with which this field is asked for."""

    @property
    def id(self) -> str:
        """A name that is an HTML id."""
        variant = f"-{self.when[1]}" if self.when else ""
        return "field" + self.pointer.replace("/", "-") + variant


@dataclass(frozen=True, kw_only=True)
class Section:
    """Fields under one heading."""

    title: str
    fields: tuple[Field, ...]


def choices(name: str) -> tuple[str, ...]:
    """Choices of a field such as `method`, `network`, `optimizer`."""
    return next(field.choices for field in _fields() if field.pointer == f"/{name}/name")


def sections(values: Mapping[str, Any] | None = None) -> list[Section]:
    """The form, filled with the values of a specification, or with the defaults."""
    filled = [_filled(field, values) for field in _fields()] if values else list(_fields())
    named = {name for names in SECTIONS.values() for name in names}
    found = []
    for title, names in SECTIONS.items():
        chosen = [field for name in names for field in filled if _top(field) == name]
        found.append(Section(title=title, fields=tuple(chosen)))
    rest = tuple(field for field in filled if _top(field) not in named)
    return [*found, Section(title=REST, fields=rest)]


def _top(field: Field) -> str:
    return field.pointer.split("/")[1]


@lru_cache
def _fields() -> tuple[Field, ...]:
    schema = JobSpecification.model_json_schema()
    return tuple(_of_object(schema, schema["$defs"], "", schema.get("default", {}), None))


def _of_object(
    schema: Schema,
    definitions: Mapping[str, Schema],
    pointer: str,
    default: Mapping[str, Any],
    when: tuple[str, str] | None,
) -> Iterator[Field]:
    for name, entry in schema["properties"].items():
        if "const" in entry:
            continue  # the tag of a variant; the select of its union sets it
        if f"{pointer}/{name}" in NOT_ASKED:
            continue
        here = f"{pointer}/{name}"
        value = default.get(name, entry.get("default", EXAMPLES.get(here)))
        if "discriminator" in entry:
            yield from _of_union(entry, definitions, here, value)
        elif here in AS_JSON:
            yield replace(_of_value({**entry, "type": "json"}, here, value, when), kind="json")
        elif (reference := _reference(entry)) is not None:
            inner = definitions[reference.rpartition("/")[2]]
            yield from _of_object(inner, definitions, here, value or {}, when)
        elif not _is_fixed(entry):
            yield _of_value(entry, here, value, when)


def _reference(entry: Schema) -> str | None:
    """Reference to the schema of an object, or of one that may be left out."""
    options = (entry, *entry.get("anyOf", ()))
    return next((option["$ref"] for option in options if "$ref" in option), None)


def _of_union(
    entry: Schema, definitions: Mapping[str, Schema], pointer: str, value: Mapping[str, Any]
) -> Iterator[Field]:
    """A select for the variant, then the fields of every variant."""
    members = [definitions[member["$ref"].rpartition("/")[2]] for member in entry["oneOf"]]
    variants = {str(member["properties"]["name"]["const"]): member for member in members}
    choice = f"{pointer}/name"
    yield Field(
        pointer=choice,
        label=_label(pointer),
        kind="select",
        value=value["name"],
        choices=tuple(variants),
        notes=tuple((tag, _sentence(variant)) for tag, variant in variants.items()),
    )
    for tag, variant in variants.items():
        chosen = value if tag == value["name"] else {}
        yield from _of_object(variant, definitions, pointer, chosen, (choice, tag))


def _of_value(entry: Schema, pointer: str, value: Any, when: tuple[str, str] | None) -> Field:
    options = entry.get("anyOf", [entry])
    plain: Schema = next(option for option in options if option.get("type") != "null")
    is_automatic = value == "auto" and any(option.get("const") == "auto" for option in options)
    items: Schema = plain.get("items") or {}
    kind: Kind
    match plain.get("type"):
        case "boolean":
            kind = "check"
        case "integer":
            kind = "integer"
        case "number":
            kind = "number"
        case "array":
            kind = "checks" if "enum" in items else "list" if "type" in items else "json"
        case "object":
            kind = "pairs"
        case _:
            kind = "select" if "enum" in plain else "text"
    return Field(
        pointer=pointer,
        label=_label(pointer.removesuffix("/name") or pointer),
        kind=kind,
        value=value,
        hint=_sentence(entry).replace("null:", "none:"),
        choices=tuple(plain.get("enum") or items.get("enum") or ()),
        notes=_notes(pointer),
        minimum=plain.get("minimum", plain.get("exclusiveMinimum")),
        maximum=plain.get("maximum", plain.get("exclusiveMaximum")),
        required=value is not None and not is_automatic and kind in ("integer", "number"),
        is_automatic=is_automatic,
        may_be_none=kind in ("integer", "number") and {"type": "null"} in options,
        when=when,
    )


def _notes(pointer: str) -> tuple[tuple[str, str], ...]:
    """Description of each choice that the schema has no room for."""
    if pointer != "/neuron/surrogate/name":
        return ()
    return tuple((name, inspect.getdoc(each) or "") for name, each in SURROGATES.members().items())


def _filled(field: Field, values: Mapping[str, Any]) -> Field:
    """The field with its value out of a specification, where that has one."""
    if field.when is not None:
        pointer, choice = field.when
        default = next(each.value for each in _fields() if each.pointer == pointer)
        if (_at(values, pointer) or default) != choice:  # a name may be left out
            return field
    try:
        value = json_pointer.find(values, field.pointer)
    except KeyError:
        return field
    if value is None and not field.may_be_none:
        return field
    return Field(**{**vars(field), "value": value})


def with_auto(specification: Mapping[str, Any]) -> dict[str, Any]:
    """The specification of a job as it was sent: "auto" for what was automatic."""
    found = copy.deepcopy(dict(specification))
    found.pop("plugins", None)
    automatic = found.pop("automatic", ())
    for pointer in automatic if isinstance(automatic, list | tuple) else ():
        with contextlib.suppress(KeyError, ValueError, AttributeError):  # of another version
            json_pointer.find(found, pointer)
            parts = json_pointer.parts_of(pointer)
            json_pointer.put(found, parts, {"name": "auto"} if pointer == "/optimizer" else "auto")
    return found


def _at(values: Any, pointer: str) -> Any:
    try:
        return json_pointer.find(values, pointer)
    except KeyError:
        return None


def _is_fixed(entry: Schema) -> bool:
    """Whether the schema leaves no choice."""
    return "minimum" in entry and entry["minimum"] == entry.get("maximum")


def _label(pointer: str) -> str:
    return LABELS.get(pointer) or pointer.rpartition("/")[2].replace("_", " ").capitalize()


def _sentence(schema: Schema) -> str:
    return " ".join(str(schema.get("description", "")).replace("`", "").split())
