"""Puts what the program itself knows into a chapter, in place of `<!-- generated: NAME -->`.

`settings` is the schema of the job specification, `commands` the help of the `saf` command,
`routes` the OpenAPI document, `notebook` the cells of `notebook.ipynb`. Nothing of it is written
by hand a second time.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sphinx.application import Sphinx

from extension import commands, notebook, routes, settings

PARTS: dict[str, Callable[[], str]] = {
    "commands": commands.chapter,
    "notebook": notebook.chapter,
    "routes": routes.chapter,
    "settings": settings.chapter,
}
MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace the marks of a page by Markdown."""
    if MARK.search(source[0]):
        app.env.note_reread()  # what it is made from is no file of the guide
        source[0] = MARK.sub(lambda mark: PARTS[mark[1]](), source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
