"""Saved searches as the API shows them."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlencode

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from api.store.tables.jobs import SavedSearch
from api.web.asgi import prefix
from api.web.caller import Names
from api.web.schemas import Document, Timestamp, iso

PARAMETERS = (
    *("status", "health", "method", "dataset", "network", "sweep", "tag", "favourite", "q"),
    *("mine", "project", "sort"),
)
"""What a search may say; `metadata[KEY]` as well."""
LONGEST = 2000  # characters of a query
LONGEST_ADDRESS = 8000  # as it stands in an address, where a letter may be nine characters
MOST_PARAMETERS = 100
_OF_METADATA = re.compile(r"metadata\[[^\]]{1,64}\]")


def checked_query(text: str) -> str:
    """A query of the list of jobs without its place, as it is stored. Raises ValueError."""
    pairs = parse_qsl(text.removeprefix("?"))
    for name, _ in pairs:
        if name not in PARAMETERS and not _OF_METADATA.fullmatch(name):
            raise ValueError(
                f"has {name[:64]!r}, which is no filter of the list of jobs; use "
                f"{', '.join(PARAMETERS)} or metadata[KEY]"
            )
    if not pairs:
        raise ValueError("says nothing to search for; one looks like status=failed&sort=-created")
    query = urlencode(pairs)
    if len(query) > LONGEST_ADDRESS or len(pairs) > MOST_PARAMETERS:
        raise ValueError(
            f"has {len(pairs)} filters, and {len(query)} characters in an address; "
            f"{MOST_PARAMETERS} and {LONGEST_ADDRESS} are the most"
        )
    return query


class NewSearch(BaseModel):
    """A search to be saved."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: Annotated[
        str,
        StringConstraints(
            min_length=1, max_length=60, strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f]+$"
        ),
    ]
    query: Annotated[str, Field(max_length=LONGEST), AfterValidator(checked_query)]
    """Parameters of `GET /v1/jobs` as in an address: `status=failed&tag=paper`."""


class SearchDocument(Document):
    """A search that somebody has saved."""

    id: str
    object: Literal["search"] = "search"
    name: str
    query: str
    owner: str | None
    project: str | None
    """Whose members see it, too; null: its owner alone."""
    created_at: Timestamp
    url: str
    """The page that lists what it finds."""


def search_document(row: SavedSearch, names: Names) -> SearchDocument:
    """The JSON of a saved search."""
    owner, project = names.of(row.owner_id, row.project_id)
    return SearchDocument(
        id=row.id,
        name=row.name,
        query=row.query,
        owner=owner,
        project=project,
        created_at=iso(row.created_at),
        url=prefix.at(f"/?{row.query}"),
    )
