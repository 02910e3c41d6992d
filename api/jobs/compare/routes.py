"""Jobs side by side: which settings differ, what came out, and their curves over one axis."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.errors import NotFoundError
from api.jobs.compare import svg
from api.jobs.compare.curves import Curves, chosen, plots_of
from api.jobs.compare.queries import compare, find
from api.jobs.compare.request import Axis, Ids, asked_for
from api.jobs.compare.schemas import Comparison
from api.web.csv_export import as_csv
from api.web.dependencies import ServiceDependency
from api.web.problems.documents import responses
from api.web.rendering import attachment, templates

router = APIRouter()


@router.get(
    "/v1/comparison",
    tags=["jobs"],
    summary="Jobs side by side",
    response_model=Comparison,
    responses={
        200: {
            "content": {
                "text/csv": {"example": "id,name,status,best_accuracy,verdict,/method/name\n"},
                "image/svg+xml": {"example": "<svg …>"},
            }
        },
        **responses(404, 422, 503),
    },
)
def get_comparison(
    request: Request,
    service: ServiceDependency,
    ids: Ids = None,
    format: Annotated[
        Literal["json", "csv", "svg"],
        Query(description="`csv`: a line for each job; `svg`: the curves as a picture"),
    ] = "json",
    metric: Annotated[list[str] | None, Query(description="Curves of the picture")] = None,
    x: Axis = "step",
    log: Annotated[bool, Query(description="Losses on a logarithmic axis")] = False,
    begin: Annotated[float | None, Query(alias="from", ge=0, lt=2**53)] = None,
    end: Annotated[float | None, Query(alias="to", ge=0, lt=2**53)] = None,
) -> Comparison | Response:
    """At most twelve jobs. In the CSV a text that a spreadsheet would take for a formula has an
    apostrophe in front."""
    asked = asked_for(ids)
    curves = Curves(names=metric or (), axis=x, log=log, begin=begin, end=end)
    with service.database.reading() as session:
        jobs = find(session, asked)
        if not jobs:
            raise NotFoundError(f"there is no job {' nor '.join(asked)}")
        comparison = compare(session, jobs, asked)
        if format == "json":
            return comparison
        if format == "csv":
            return attachment(_csv(comparison), "text/csv; charset=utf-8", "comparison.csv")
        plots = plots_of(session, jobs, chosen(session, jobs, curves.names)[0], curves)
    drawing = templates.get_template("jobs/figure_file.html").render(
        {"request": request, "jobs": comparison.jobs, "plots": plots, "figure": svg, "x": x}
    )
    return attachment(drawing.strip() + "\n", "image/svg+xml", "comparison.svg")


def _csv(comparison: Comparison) -> str:
    """A line for each job: what came out, then its settings by their pointers."""
    results, settings = comparison.results, comparison.settings
    names = [*(result.name for result in results), "verdict", "health", "findings"]
    names += [one.pointer for one in settings]
    rows = (
        (
            *(job.id, job.name, str(job.status)),
            *(result.values[index] for result in results),
            job.verdict,
            job.health,
            " ".join(finding.code for finding in job.findings),
            *(setting.values[index] for setting in settings),
        )
        for index, job in enumerate(comparison.jobs)
    )
    return as_csv(["id", "name", "status", *names], rows)
