"""The page that submits a job."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.datasets.queries import find_datasets, ready_names
from api.jobs.pages import list_page, new_form
from api.jobs.pages.presets import filled, suited
from api.jobs.queries import read_job
from api.networks.queries import read_network
from api.store.soundness import readable
from api.web.dependencies import ServiceDependency
from api.web.rendering import page
from saf.presets import PRESETS, Preset, find_preset

router = APIRouter(include_in_schema=False)


@router.get("/new")
def new_page(
    request: Request,
    service: ServiceDependency,
    dataset: str = "",
    preset: str = "",
    from_job: Annotated[str, Query(alias="from")] = "",
    init: str = "",
    network: str = "",
) -> Response:
    """The form to submit a job; `dataset` alone begins with what suits it, `from` fills it with the
    specification of another, `preset` with one to start from, `init` with a network to start with
    and the specification of its job, `network` with an uploaded network and what a job takes over
    of it."""
    chosen = find_preset(preset)
    with service.database.reading() as session:
        offered, _ = find_datasets(session, limit=list_page.OFFERED_DATASETS)
        names = ready_names(session, most=list_page.OFFERED_DATASETS)
        source = from_job or init
        values = (
            new_form.with_auto(readable(read_job(session, source))[0].specification)
            if source
            else {}
        )
        if network:
            values = {**read_network(session, network).settings, "init": {"network": network}}
    if chosen is not None:
        values = filled(chosen, offered)
    if init:
        values = {**values, "init": {"job": init}, "name": ""}
    if dataset:
        values = {**values, "dataset": dataset} if values else suited(dataset, offered)
    groups: dict[str, list[Preset]] = {}
    for each in PRESETS:
        groups.setdefault(each.group, []).append(each)
    context = {
        "sections": new_form.sections(values),
        "datasets": names,
        "from_job": from_job,
        "presets": groups,
        "preset": chosen,
    }
    return page(request, "jobs/new.html", context)
