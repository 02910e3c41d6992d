"""Moves what a page holds inline into files of its own.

The service sends `Content-Security-Policy: default-src 'self'` with every page: a browser then runs
no script and applies no style that stands in the page. The theme writes one of each; as files they
do the same, and the guide needs no exception. What is left inline ends the build.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

SCRIPT = re.compile(r"<script(?: type=\"text/javascript\")?>(.*?)</script>", re.DOTALL)
STYLE = re.compile(r"<style(?: type=\"text/css\")?>(.*?)</style>", re.DOTALL)
ATTRIBUTE = re.compile(r"(<[^<>]*\s)style=\"([^\"]*)\"")
INLINE = re.compile(
    r"<(?:script(?![^>]*\bsrc=)|style)\b[^>]*>|<[^<>]*\s(?:style|on[a-z]+)\s*=\s*[\"'][^>]*>"
)
OUTSIDE = re.compile(
    r"<(?:script|link|img|iframe|source|video)\b[^>]*\b(?:src|href)=\"(?:https?:)?//[^>]*>"
)


def move_inline(app: Sphinx, failed: Exception | None) -> None:
    """Rewrite every page that was written. Raises ExtensionError for what a browser would refuse
    or load from another host."""
    if failed is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir)
    for page in folder.rglob("*.html"):
        page.write_text(_without_inline(page, folder), encoding="utf-8")


def _without_inline(page: Path, folder: Path) -> str:
    up = "../" * (len(page.relative_to(folder).parts) - 1)

    def script(found: re.Match[str]) -> str:
        return f'<script src="{_file(folder, up, found[1], "js")}"></script>'

    def style(found: re.Match[str]) -> str:
        return f'<link rel="stylesheet" href="{_file(folder, up, found[1], "css")}">'

    html = SCRIPT.sub(script, page.read_text(encoding="utf-8"))
    html = _without_attributes(folder, up, STYLE.sub(style, html))
    for pattern, what in ((INLINE, "stands in the page"), (OUTSIDE, "is loaded from outside")):
        if (left := pattern.search(html)) is not None:
            raise ExtensionError(f"{page.name}: {left[0][:200]} {what}")
    return html


def _without_attributes(folder: Path, up: str, html: str) -> str:
    """A page whose `style` attributes have become rules of a style sheet."""
    rules: dict[str, str] = {}

    def named(found: re.Match[str]) -> str:
        rule = hashlib.sha256(found[2].encode()).hexdigest()[:8]
        rules[rule] = found[2]
        return f'{found[1]}data-style="{rule}"'

    html = ATTRIBUTE.sub(named, html)
    if not rules:
        return html
    sheet = "\n".join(f'[data-style="{name}"] {{ {rule} }}' for name, rule in sorted(rules.items()))
    link = f'<link rel="stylesheet" href="{_file(folder, up, sheet, "css")}">'
    return html.replace("</head>", link + "</head>", 1)


def _file(folder: Path, up: str, content: str, ending: str) -> str:
    """The address, from a page, of a file with that content, which is written."""
    name = f"inline-{hashlib.sha256(content.encode()).hexdigest()[:12]}.{ending}"
    (folder / "_static" / name).write_text(content, encoding="utf-8")
    return f"{up}_static/{name}"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", move_inline)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
