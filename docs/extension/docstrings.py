"""Docstrings as they are written here, for Sphinx, which expects reStructuredText.

An indented block after an empty line is code; a list begins without an empty line before it.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

ITEM = re.compile(r"[-*] ")


def rewrite(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Say of a code block that it is one."""
    written: list[str] = []
    within = False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not within and written and not written[-1].strip():
            written += ["::", ""]
        within = indented or (within and not line.strip())
        written.append(re.sub(r"`?docs/([\w\-]+)\.md`?", r":doc:`\1`", line))
    lines[:] = written


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", rewrite)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
