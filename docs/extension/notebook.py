"""The notebook of the guide as Markdown."""

from __future__ import annotations

import json
from pathlib import Path

NOTEBOOK = Path(__file__).parents[1] / "notebook.ipynb"


def chapter() -> str:
    """Its cells, with the outputs that are stored in it where they are text."""
    parts = []
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        shown = "".join(_text(output) for output in cell["outputs"])
        if shown.strip():
            parts.append(f"```text\n{shown.rstrip()}\n```")
    return "\n\n".join(parts)


def _text(output: dict[str, object]) -> str:
    if output["output_type"] == "stream":
        lines = output["text"]
    else:
        data = output.get("data", {})
        lines = data.get("text/plain", "") if isinstance(data, dict) else ""
    return "".join(lines) if isinstance(lines, list) else str(lines)
