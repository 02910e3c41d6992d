"""What the documents show as code, and what their source says about it.

A fence of `sh`, `console` or `python` is run, unless the line before it says why it is not:

    <!-- not run: needs a second machine -->

A comment `<!-- run first: … -->` holds shell commands that a reader does not need to see, such as
those that make a file which the next fence uses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
RUN = {"sh", "console", "python"}
SHOWN = {"text", "json", "yaml", "nginx", "toml", "http", "bibtex", "c", "js"}
NOT_RUN = re.compile(r"<!-- not run: (\S.*?) -->\s*$", re.DOTALL)
RUN_FIRST = re.compile(r"<!-- run first:\n(.*?)\n\s*-->\s*$", re.DOTALL)
WORDS = 3  # that a reason has at the least


@dataclass(frozen=True)
class Block:
    """A piece of code in a document."""

    page: str
    line: int
    language: str
    """`sh`, `console`, `python`, a language that is only shown, or empty."""
    code: str
    reason: str = ""
    """Why it is not run; empty where it is."""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        return self.language in RUN and not self.reason


def pages() -> list[Path]:
    """The documents for users."""
    found = sorted((ROOT / "docs").rglob("*.md"))
    return [ROOT / "README.md", *found, *sorted((ROOT / "docs").glob("*.ipynb"))]


def blocks(page: Path) -> list[Block]:
    """The code of a document, in its order."""
    name = page.relative_to(ROOT).as_posix()
    if page.suffix == ".ipynb":
        return list(_of_notebook(name, json.loads(page.read_text())))
    return list(_of_markdown(name, page.read_text()))


def _of_markdown(name: str, text: str) -> Iterator[Block]:
    tokens = MarkdownIt("commonmark").parse(text)
    before = ""
    for token in tokens:
        line = (token.map or [0])[0] + 1
        if token.type == "html_block":
            before = token.content
            if (first := RUN_FIRST.search(before)) is not None:
                yield Block(name, line, "sh", first[1])
        elif token.type == "code_block":
            yield Block(name, line, "", token.content)
        elif token.type == "fence" and not token.info.startswith("{"):
            yield Block(name, line, token.info.strip(), token.content, _reason(before))
        elif token.type == "fence" and token.info.startswith(("{code", "{sourcecode")):
            yield Block(name, line, token.info.strip(), token.content)
        if _is_content(token):
            before = ""


def _reason(comment: str) -> str:
    found = NOT_RUN.search(comment)
    return " ".join(found[1].split()) if found else ""


def _is_content(token: Token) -> bool:
    return token.type not in ("html_block",)


def _of_notebook(name: str, notebook: dict[str, list[dict[str, object]]]) -> Iterator[Block]:
    for number, cell in enumerate(notebook["cells"], 1):
        if cell["cell_type"] == "code":
            source = cell["source"]
            code = "".join(source) if isinstance(source, list) else str(source)
            yield Block(name, number, "python", code)
