"""Formulas as MathML, made when the guide is built: no script, no font and no picture is loaded.

The converter is docutils' own. What it cannot read is a warning, and warnings end the build.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

log = logging.getLogger(__name__)
ACCENT = re.compile(r"\\(?:hat|bar|tilde) ?\w(?=[_^])")


def formula(latex: str, *, block: bool, place: nodes.Element) -> str:
    """The `<math>` element of a formula."""
    # Else the converter puts a subscript below the accent, as a limit.
    latex = ACCENT.sub(lambda accent: f"{{{{{accent[0]}}}{{}}}}", latex)
    if block and "\\\\" in latex and "\\begin{" not in latex:
        latex = f"\\begin{{aligned}}{latex}\\end{{aligned}}"
    try:
        parsed = latex2mathml.tex2mathml(latex, as_block=block)
    except MathError as error:
        log.warning("formula that cannot be read: %s (%s)", latex, error, location=place)
        return ""
    return str(parsed)


def inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(formula(node.astext(), block=False, place=node))
    raise nodes.SkipNode


def block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(writer.starttag(node, "div", CLASS="math"))
    writer.body.append(formula(node.astext(), block=True, place=node))
    writer.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
