"""The fields of the form that submits a job, read off the JSON schema of `JobSpecification`.

A field that is added to the specification appears in the form by itself; `SECTIONS` says only
where, and `LABELS` how it is called where its name does not say it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from api.networks import SURROGATES
from saf.config import JobSpecification

Kind = Literal["text", "number", "integer", "check", "select", "checks", "list", "json", "pairs"]
Schema = Mapping[str, Any]

LABELS = {
    "/name": "Name",
    "/dataset": "Data set",
    "/network/channels": "Channels of each layer",
    "/network/features": "Neurons of each layer",
    "/network/layers": "Layers (JSON)",
    "/network/width": "Width factor",
    "/method/trace_bias_and_input": "Trace on bias and first layer",
    "/method/update": "The optimizer steps once per",
    "/neuron/decay": "Decay λ",
    "/neuron/threshold": "Threshold V",
    "/neuron/surrogate": "Surrogate",
    "/neuron/surrogate/slope": "Slope of the surrogate",
    "/timesteps": "Time steps T",
    "/conversion/grid_bits": "Bits of the weights, for a proof",
    "/schedule": "Learning rate over the run",
    "/schedule/warmup_epochs": "Warm-up (epochs)",
    "/loss/mse_share": "Share of squared error in the loss",
    "/loss/label_smoothing": "Label smoothing",
    "/max_gradient_norm": "Largest norm of the gradient",
    "/average_decay": "Decay of the average of the weights",
    "/augment": "Changes to training images",
    "/max_runtime_seconds": "Longest run time (seconds)",
}
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "What to train": ("name", "dataset", "network"),
    "How it spikes": ("method", "timesteps", "neuron", "conversion"),
    "Training": (
        "epochs",
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
EXAMPLES = {  # what a field without a default begins with
    "/network/layers": [
        {"kind": "conv", "channels": 32},
        {"kind": "average_pool"},
        {"kind": "linear", "features": 128},
    ],
}


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
    """What can be chosen for a field such as `method`, `network`, `optimizer`."""
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
        here = f"{pointer}/{name}"
        value = default.get(name, entry.get("default", EXAMPLES.get(here)))
        if "discriminator" in entry:
            yield from _of_union(entry, definitions, here, value)
        elif "$ref" in entry:
            inner = definitions[entry["$ref"].rpartition("/")[2]]
            yield from _of_object(inner, definitions, here, value or {}, when)
        elif not _is_fixed(entry):
            yield _of_value(entry, here, value, when)


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
        hint=_sentence(entry),
        choices=tuple(plain.get("enum") or items.get("enum") or ()),
        notes=tuple(SURROGATES.items()) if pointer == "/neuron/surrogate/name" else (),
        minimum=plain.get("minimum", plain.get("exclusiveMinimum")),
        maximum=plain.get("maximum", plain.get("exclusiveMaximum")),
        required=value is not None and kind in ("integer", "number"),
        when=when,
    )


def _filled(field: Field, values: Mapping[str, Any]) -> Field:
    """The field with its value out of a specification, where that has one."""
    if field.when is not None and _at(values, field.when[0]) != field.when[1]:
        return field
    value = _at(values, field.pointer)
    return field if value is None else Field(**{**vars(field), "value": value})


def _at(values: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        if not isinstance(values, Mapping):
            return None
        values = values.get(part)
    return values


def _is_fixed(entry: Schema) -> bool:
    """Whether the schema leaves no choice."""
    return "minimum" in entry and entry["minimum"] == entry.get("maximum")


def _label(pointer: str) -> str:
    return LABELS.get(pointer) or pointer.rpartition("/")[2].replace("_", " ").capitalize()


def _sentence(schema: Schema) -> str:
    return " ".join(str(schema.get("description", "")).replace("`", "").split())
