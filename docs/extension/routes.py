"""The routes of the API as Markdown, from its OpenAPI document."""

from __future__ import annotations

import json
from typing import Any

from api.main import create_app
from api.settings import Settings
from extension.markdown import text


def chapter() -> str:
    """A section for each tag, in it one for each operation."""
    document = create_app(Settings()).openapi()
    parts = []
    for tag in document["tags"]:
        parts.append(f"## {tag['name'].capitalize()}\n\n{text(tag['description'])}\n")
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if tag["name"] in operation.get("tags", ()):
                    parts.append(_operation(method.upper(), path, operation))
    return "\n".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"### `{method} {path}`\n", f"**{text(operation['summary'])}.**"]
    lines.append(text(operation.get("description", "")) + "\n")
    body = operation.get("requestBody", {}).get("content", {})
    for media_type, content in body.items():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        lines.append(f"Body: `{media_type}`{f', `{name}`' if name else ''}.\n")
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            continue
        default = parameter["schema"].get("default")
        kind = "header" if parameter["in"] == "header" else "query"
        told = "" if default in (None, "", []) else f"; default `{json.dumps(default)}`"
        lines.append(f"`{parameter['name']}`\n: {kind}{told}")
        words = parameter.get("description") or parameter["schema"].get("description", "")
        lines.append(f": {text(words)}\n" if words else "")
    answers = [code for code in operation["responses"] if code.startswith("2")]
    lines.append(f"Answer: {', '.join(f'`{code}`' for code in answers)}.\n")
    return "\n".join(lines)
