"""The pages of data sets: all of them, and one."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.datasets.catalogue import catalogue
from api.datasets.previews import find_preview
from api.datasets.queries import existing, find_datasets, read_dataset
from api.store import viewer
from api.store.accounts import audit
from api.web.asgi import prefix
from api.web.dependencies import ServiceDependency
from api.web.remarks import MarksDependency
from api.web.rendering import page
from saf.data.formats.settings import SHARED

router = APIRouter(include_in_schema=False)

PAGE_DATASETS = 100


SHOWN_CLASSES = 200


@router.get("/datasets")
def datasets_page(
    request: Request, service: ServiceDependency, marks: MarksDependency, after: str = ""
) -> Response:
    """What can be trained on, and the upload of more."""
    with service.database.reading() as session:
        found, has_more = find_datasets(session, limit=PAGE_DATASETS, after=after, marks=marks)
    context = {
        "datasets": found,
        "older": prefix.at("/datasets?")
        + "&".join(filter(None, (urlencode({"after": found[-1].id}), marks.query())))
        if has_more
        else None,
        "marks": marks,
        "settings": SHARED,
        "catalogue": catalogue(),
        "upload_max_bytes": service.settings.upload_max_bytes,
    }
    return page(request, "datasets/datasets.html", context)


@router.get("/datasets/{dataset}")
def dataset_page(request: Request, service: ServiceDependency, dataset: str) -> Response:
    """What is in a data set, by its id or name."""
    with service.database.reading() as session:
        found = read_dataset(session, dataset)
        preview = find_preview(session, dataset)
        may_change, changes = False, []
        if not found.builtin:
            row = existing(session, dataset)
            may_change = viewer.may_change(row.owner_id, row.project_id)
            by_name = {"name": row.name, "parameter": "dataset"}
            changes = audit.history(session, row.id, **by_name, since=row.created_at)
    counts = found.counts["per_class"]["train"] if found.counts else []
    context = {
        "dataset": found,
        "may_change": may_change,
        "changes": changes,
        "preview": preview,
        "shown": range(min(found.classes or 0, SHOWN_CLASSES)),
        "largest": max(counts, default=1) or 1,
        "activity_most": max(
            (max(step) for step in (preview and preview.activity) or []), default=0
        ),
    }
    return page(request, "datasets/dataset.html", context)
