"""What data sets look like: a picture with samples of each class, made when an upload is checked.

Those of the built-in data sets lie in `static/datasets/previews/`; `python -m saf.data.preview`
writes them.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Header
from pydantic import Field
from sqlalchemy import or_, select
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.errors import DamagedFileError, GoneError, NotFoundError, unreadable
from api.store.blobs.base import StoreError
from api.store.blobs.verified import DamagedError
from api.store.tables.uploads import Dataset, DatasetPreview
from api.web.asgi import prefix
from api.web.dependencies import Service, ServiceDependency
from api.web.problems.documents import responses
from api.web.schemas import Document
from saf.data import CATALOGUE

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])
FOLDER = Path(__file__).parents[1] / "static" / "datasets" / "previews"
FOR_EVER = "private, max-age=31536000, immutable"
SHOWN_HASH = 16  # characters of the SHA-256 in the address of a picture


class PreviewDocument(Document):
    """Where the samples are on the picture of a data set."""

    object: Literal["preview"] = "preview"
    dataset: str
    """Its id."""
    picture: str
    """The address of the picture, a PNG; what is there never changes."""
    width: int
    height: int
    tile: Annotated[list[int], Field(min_length=2, max_length=2)]
    """Height and width of a sample on the picture."""
    gap: int
    """Pixels between samples."""
    rows: list[int]
    """The class of each row; samples of a class lie side by side."""
    columns: int
    steps: list[int] | None
    """Of event frames: the picture has one sheet of all steps together, then one for each of
    these; null for images."""
    across: int
    """Sheets that lie side by side, before the next row of them begins."""
    channels: str
    """What the colours mean."""
    histogram: list[float] | None
    """Of images: the share of the values in each of 32 equal parts of [0, 1]."""
    activity: list[list[float]] | None
    """Of event frames: events of a sample in each step, of each channel, in the mean."""


def builtin_summary(name: str) -> dict[str, Any]:
    """What `Dataset.summary` says of a built-in data set, which is not loaded for it."""
    summary: dict[str, Any] = _builtin(name)["summary"]
    return summary


def find_preview(session: Session, name_or_id: str) -> PreviewDocument | None:
    """The preview of a data set by its name or id; None when it has none."""
    if name_or_id in CATALOGUE:
        layout = _builtin(name_or_id)["layout"]
        address = _address(name_or_id, _builtin_sha256(name_or_id))
        return PreviewDocument(dataset=name_or_id, picture=address, **layout)
    found = _row(session, name_or_id)
    if found is None:
        return None
    address = _address(found.dataset_id, found.sha256)
    return PreviewDocument(dataset=found.dataset_id, picture=address, **found.layout)


@router.get(
    "/{dataset}/preview", summary="Where samples are on the picture", responses=responses(404, 503)
)
def get_preview(service: ServiceDependency, dataset: str) -> PreviewDocument:
    """By id or name. 404 until the data set is checked."""
    with service.database.reading() as session:
        found = find_preview(session, dataset)
    if found is None:
        raise _none(dataset)
    return found


@router.get(
    "/{dataset}/preview.png",
    summary="A picture of samples of each class",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **responses(404, 410, 503)},
)
def get_picture(
    service: ServiceDependency,
    dataset: str,
    v: str = "",
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Browsers keep it for ever where the address says which content it has (`v`)."""
    if dataset in CATALOGUE:
        sha256 = _builtin_sha256(dataset)
    else:
        with service.database.reading() as session:
            found = _row(session, dataset)
        if found is None:
            raise _none(dataset)
        sha256 = found.sha256
    named = v == sha256[:SHOWN_HASH]
    headers = {
        "ETag": f'"{sha256}"',
        "Cache-Control": FOR_EVER if named else "private, no-cache",
    }
    if if_none_match is not None and f'"{sha256}"' in if_none_match:
        return Response(status_code=304, headers=headers)
    try:
        with _picture(service, dataset, sha256) as file:
            content = file.read()
    except FileNotFoundError as error:
        raise GoneError(
            f"the picture of {dataset} is no longer in the store; upload it again"
        ) from error
    except DamagedError as error:
        raise DamagedFileError(f"the picture of {dataset}", "upload the data set again") from error
    except StoreError:
        raise
    except OSError as error:
        raise unreadable(f"of the picture of {dataset}", error) from error
    return Response(content, headers=headers, media_type="image/png")


def _picture(service: Service, dataset: str, sha256: str) -> BinaryIO:
    if dataset in CATALOGUE:
        return (FOLDER / f"{dataset}.png").open("rb")
    return service.store.open(sha256)


@lru_cache
def _builtin(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


@lru_cache
def _builtin_sha256(name: str) -> str:
    return hashlib.sha256((FOLDER / f"{name}.png").read_bytes()).hexdigest()


def _address(dataset_id: str, sha256: str) -> str:
    return prefix.at(f"/v1/datasets/{dataset_id}/preview.png?v={sha256[:SHOWN_HASH]}")


def _row(session: Session, name_or_id: str) -> DatasetPreview | None:
    return session.scalar(
        select(DatasetPreview)
        .join(Dataset)
        .where(or_(Dataset.id == name_or_id, Dataset.name == name_or_id))
    )


def _none(dataset: str) -> NotFoundError:
    return NotFoundError(f"there is no preview of a data set {dataset}")
