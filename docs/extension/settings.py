"""The settings of a job as Markdown, from the JSON schema of the specification."""

from __future__ import annotations

import json
from typing import Any

from extension.markdown import text
from saf import JobSpecification

Schema = dict[str, Any]


def chapter() -> str:
    """A section for the job itself and one for each group of settings, in the schema's order."""
    schema = JobSpecification.model_json_schema()
    definitions: dict[str, Schema] = schema["$defs"]
    own = {k: v for k, v in schema["properties"].items() if not _models(v)}
    parts = ["## The job\n", _settings("", {**schema, "properties": own})]
    told: set[str] = set()
    for name, field in schema["properties"].items():
        parts += _group(name, field, definitions, 2, told)
    return "\n".join(parts)


def _group(
    path: str, field: Schema, definitions: dict[str, Schema], level: int, told: set[str]
) -> list[str]:
    """The section of a setting that has settings of its own, one below it for each choice. What
    `told` names, as of the surrogate of another neuron, stands above already."""
    models = _models(field)
    if not models:
        return []
    parts = [f"{'#' * level} `{path}`\n"]
    if field.get("description"):
        parts.append(text(field["description"]) + "\n")
    if (default := field.get("default")) is not None and len(models) > 1:
        parts.append(f"Default: `{default.get('name', json.dumps(default))}`.\n")
    for model in models:
        found = definitions[model]
        choice = _constant(found)
        if f"{path}-{choice}" in told:
            parts.append(f"`{choice}`, as above.\n")
            continue
        told.add(f"{path}-{choice}")
        within = level
        if len(models) > 1:
            within = level + 1
            parts.append(f"{'#' * within} `{path}`: `{choice}`\n")
        parts.append(text(found.get("description", "")) + "\n")
        parts.append(_settings(f"{path}.", found, anchor=f"{path}-{choice}."))
        for name, inner in found["properties"].items():
            parts += _group(f"{path}.{name}", inner, definitions, within + 1, told)
    return parts


def _settings(prefix: str, model: Schema, anchor: str = "") -> str:
    """A definition for each setting of a model that is no model itself."""
    lines = []
    for name, field in model["properties"].items():
        if _models(field) or ("const" in field and name in ("name", "kind")):
            continue
        required = name in model.get("required", ())
        default = "needed" if required else f"default `{_value(field.get('default'))}`"
        words = text(field.get("description", "")) or "–"
        place = f"{anchor or prefix}{name}".replace(".", "-").replace("_", "-")
        lines.append(f"[`{prefix}{name}`]{{#setting-{place}}}\n: {_allowed(field)}; {default}\n")
        lines.append(f": {words}\n")
    return "\n".join(lines)


def _models(field: Schema) -> list[str]:
    """The models that a field may hold, by name."""
    choices = [field, *field.get("oneOf", ()), *field.get("anyOf", ())]
    choices += field.get("items", {}).get("oneOf", ())
    return [choice["$ref"].rpartition("/")[2] for choice in choices if "$ref" in choice]


def _constant(model: Schema) -> str:
    for name in ("name", "kind"):
        field = model["properties"].get(name, {})
        if field:
            return str(field.get("const", field.get("default")))
    return str(model["title"])


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _allowed(field: Schema) -> str:
    """What a setting may be, in words."""
    if "anyOf" in field:
        return " or ".join(_allowed(choice) for choice in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{_value(field['const'])}`"
    if "$ref" in field:  # an object that is described in its own chapter
        return f"`{str(field['$ref']).rpartition('/')[2]}`"
    kind = field.get("type")
    if kind == "array":
        return f"a list of {_allowed(field['items'])}" if "items" in field else "a list"
    words = {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "`true` or `false`",
        "null": "`null`",
        "object": "keys and values",
    }[str(kind)]
    return words + _bounds(field)


def _bounds(field: Schema) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    above, below = field.get("exclusiveMinimum"), field.get("exclusiveMaximum")
    bounds = []
    if low is not None and high is not None:
        return f" from {_number(low)} to {_number(high)}"
    bounds += [f"of at least {_number(low)}"] if low is not None else []
    bounds += [f"above {_number(above)}"] if above is not None else []
    bounds += [f"up to {_number(high)}"] if high is not None else []
    bounds += [f"below {_number(below)}"] if below is not None else []
    return " " + ", ".join(bounds) if bounds else ""


def _number(value: float) -> str:
    if value in (2**63, 2**63 - 1):
        return "2⁶³"
    return f"{value:,g}" if value < 1e6 else f"{value:,.0f}"
