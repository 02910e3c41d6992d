"""Well-known data sets: where they are published, and how to have them here."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter

from api.web.schemas import Document, Listing
from saf.data.wellknown import KNOWN, steps

router = APIRouter(prefix="/v1/catalogue", tags=["datasets"])


class PublishedFile(Document):
    name: str
    url: str
    md5: str


class CatalogueDocument(Document):
    """A well-known data set. This server has it once it is uploaded under its name."""

    object: Literal["catalogue_entry"] = "catalogue_entry"
    name: str
    title: str
    page: str
    licence: str
    cite: str
    files: list[PublishedFile]
    command: str
    """What downloads it and uploads it to this server, on a machine with a network."""
    steps: list[str]
    """What to do where there is none."""


def catalogue() -> list[CatalogueDocument]:
    """All of them."""
    return [
        CatalogueDocument(
            name=name,
            title=entry.title,
            page=entry.page,
            licence=entry.licence,
            cite=entry.cite,
            files=[PublishedFile(name=f.name, url=f.url, md5=f.md5) for f in entry.files],
            command=f"saf datasets fetch {name}",
            steps=steps(name),
        )
        for name, entry in KNOWN.items()
    ]


@router.get("", summary="List well-known data sets")
def get_catalogue() -> Listing[CatalogueDocument]:
    """What they are, where their authors publish them, with checksums and licences. The server
    downloads nothing by itself."""
    found = catalogue()
    return Listing(data=found, first_id=found[0].name, last_id=found[-1].name)
