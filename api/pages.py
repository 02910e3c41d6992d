"""What a browser shows. Everything is rendered here and can be read without JavaScript; the
modules in `static/` keep it live. Data comes through the functions behind the JSON routes."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, Query, Request
from starlette.responses import Response

from api import comparison, form, job_page, overview, prefix, presets, sweep_pages, system
from api.catalogue import find_datasets, read_dataset, ready_names
from api.jobs import read_job
from api.previews import find_preview
from api.rendering import page
from api.service import ServiceDependency
from api.store.soundness import readable

router = APIRouter(include_in_schema=False)
PAGE_DATASETS = 100
SHOWN_CLASSES = 200


def install(app: FastAPI) -> None:
    """Add the pages."""
    for noun in (overview, comparison, job_page, sweep_pages, system):
        app.include_router(noun.router)
    app.include_router(router)


@router.get("/new")
def new_page(
    request: Request,
    service: ServiceDependency,
    dataset: str = "",
    preset: str = "",
    from_job: Annotated[str, Query(alias="from")] = "",
    init: str = "",
) -> Response:
    """The form to submit a job; `from` fills it with the specification of another, `preset` with
    one to start from, `init` with a network to start with and the specification of its job."""
    chosen = presets.find_preset(preset)
    with service.database.reading() as session:
        offered, _ = find_datasets(session, limit=overview.OFFERED_DATASETS)
        names = ready_names(session, most=overview.OFFERED_DATASETS)
        source = from_job or init
        values = (
            form.with_auto(readable(read_job(session, source))[0].specification) if source else {}
        )
    if chosen is not None:
        values = presets.filled(chosen, offered)
    if init:
        values = {**values, "init": {"job": init}, "name": ""}
    if dataset:
        values["dataset"] = dataset
    groups: dict[str, list[presets.Preset]] = {}
    for each in presets.PRESETS:
        groups.setdefault(each.group, []).append(each)
    context = {
        "sections": form.sections(values),
        "datasets": names,
        "from_job": from_job,
        "presets": groups,
        "preset": chosen,
    }
    return page(request, "new.html", context)


@router.get("/datasets")
def datasets_page(request: Request, service: ServiceDependency, after: str = "") -> Response:
    """What can be trained on, and the upload of more."""
    with service.database.reading() as session:
        found, has_more = find_datasets(session, limit=PAGE_DATASETS, after=after)
    context = {
        "datasets": found,
        "older": prefix.at("/datasets?") + urlencode({"after": found[-1].id}) if has_more else None,
        "upload_max_bytes": service.settings.upload_max_bytes,
    }
    return page(request, "datasets.html", context)


@router.get("/datasets/{dataset}")
def dataset_page(request: Request, service: ServiceDependency, dataset: str) -> Response:
    """What is in a data set, by its id or name."""
    with service.database.reading() as session:
        found = read_dataset(session, dataset)
        preview = find_preview(session, dataset)
    counts = found.counts["per_class"]["train"] if found.counts else []
    context = {
        "dataset": found,
        "preview": preview,
        "shown": range(min(found.classes or 0, SHOWN_CLASSES)),
        "largest": max(counts, default=1) or 1,
        "activity_most": max(
            (max(step) for step in (preview and preview.activity) or []), default=0
        ),
    }
    return page(request, "dataset.html", context)
