"""What people write on things: notes, tags, whether one is a favourite; and notes as HTML."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Annotated, Self
from urllib.parse import urlencode

from fastapi import Depends, Query
from markdown_it import MarkdownIt
from markupsafe import Markup
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from saf.config.base import Strict

# `js-default` takes no HTML, and no link to a script; pictures would tell others who reads.
_MARKDOWN = MarkdownIt("js-default", {"html": False, "breaks": True}).disable("image")
_MARKDOWN.options["maxNesting"] = 20


def rendered(text: str) -> Markup:
    """The HTML of notes in Markdown, safe to show to others: HTML in them is text, links go nowhere
    but to the web and to mail, and nothing is loaded from elsewhere."""
    return Markup(_MARKDOWN.render(text))


def plain_tag(text: str) -> str:
    """A tag as it is stored, so that é typed on any keyboard is the same."""
    return unicodedata.normalize("NFC", text.strip())


Tag = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=50, strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f,]+$"
    ),
    AfterValidator(plain_tag),
]
"""A word on a thing: any characters but commas and those that control."""


class Remarks(Strict):
    """What people write on a thing; what is left out stays as it is."""

    notes: Annotated[str, StringConstraints(max_length=20_000, pattern=r"^[^\x00]*$")] = ""
    """In Markdown; HTML in it is shown as text."""
    tags: Annotated[list[Tag], Field(max_length=20, default_factory=list)]
    """All that it has from then on."""
    favourite: bool = False

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            names = ", ".join(type(self).model_fields)
            raise ValueError(f"nothing is to be changed; give one of {names}")
        return self


class NamedRemarks(Remarks):
    """The same of a thing whose name can be changed."""

    name: Annotated[
        str, StringConstraints(max_length=200, strip_whitespace=True, pattern=r"^[^\x00]*$")
    ] = ""
    """The name that lists and pages show; that in what was sent stays as it was."""


@dataclass(frozen=True)
class Marks:
    """Which things a list shows: with all of these tags, favourites or others; None: both."""

    tags: tuple[str, ...] = ()
    favourite: bool | None = None

    def query(self, *, tags: bool = True, favourite: bool | None = None) -> str:
        """As parameters of a list, with the tags or without, of favourites or as it is."""
        pairs = [("tag", tag) for tag in self.tags] if tags else []
        wanted = self.favourite if favourite is None else favourite
        return urlencode([*pairs, *([("favourite", "true")] if wanted else [])])


def _marks(
    tag: Annotated[
        list[Annotated[str, StringConstraints(max_length=50)]] | None,
        Query(description="May be given repeatedly: things that have all", max_length=16),
    ] = None,
    favourite: Annotated[bool | None, Query(description="Only favourites, or only others")] = None,
) -> Marks:
    return Marks(tuple(dict.fromkeys(map(plain_tag, tag or ()))), favourite)


ANY = Marks()
MarksDependency = Annotated[Marks, Depends(_marks)]
