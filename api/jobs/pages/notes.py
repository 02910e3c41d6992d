"""Notes in Markdown as HTML that is safe to show to others: HTML in them is text, links go nowhere
but to the web and to mail, and nothing is loaded from elsewhere."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markupsafe import Markup

# `js-default` takes no HTML, and no link to a script; pictures would tell others who reads.
_MARKDOWN = MarkdownIt("js-default", {"html": False, "breaks": True}).disable("image")
_MARKDOWN.options["maxNesting"] = 20


def rendered(text: str) -> Markup:
    """The HTML of notes."""
    return Markup(_MARKDOWN.render(text))
