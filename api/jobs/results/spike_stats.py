"""Spike statistics of a job: firing rates, potentials and gradients of its layers, by step."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.jobs.queries import read_job
from api.store.runs import spike_stats
from api.web.dependencies import ServiceDependency
from api.web.problems.documents import responses
from api.web.schemas import Document
from saf.training.events import MEMBRANE_RANGE

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


class SpikeMeasurement(Document):
    """Spike statistics after one step, on a few samples of its batch; lists are by layer."""

    step: int
    epoch: float
    attempt: int
    samples: int
    firing_rate: list[float | None]
    """Spikes per neuron and time step."""
    dead: list[float | None]
    """Share of the neurons that never fired."""
    saturated: list[float | None]
    """Share of the neurons that fired at 95 % of the time steps or more."""
    gradient_norm: list[float | None]
    """Of all parameters of the layer, before any clipping."""
    readout_gradient_norm: float | None
    membrane: list[list[float]]
    """Histogram of u / V before the reset, as shares; the end bins hold what lies beyond."""


class SpikeStatisticsDocument(Document):
    """Spike statistics of a job; `looks` are the measurements in the order of their steps."""

    object: Literal["vitals"] = "vitals"
    job_id: str
    layers: list[str]
    membrane_range: tuple[float, float]
    """Of u / V; the threshold is 1."""
    looks: list[SpikeMeasurement]


def find_spike_statistics(
    session: Session, job_id: str, *, after_step: int = -1, newest: int | None = None
) -> SpikeStatisticsDocument:
    """Measurements after a step; with `newest`, only the last so many."""
    found = spike_stats.read(session, job_id, after_step=after_step, newest=newest)
    return SpikeStatisticsDocument(
        job_id=job_id,
        layers=list(found[-1].data["layers"]) if found else [],
        membrane_range=MEMBRANE_RANGE,
        looks=[_measurement(row.attempt, row.data) for row in found],
    )


@router.get(
    "/{job_id}/vitals",
    summary="Spike statistics of a job",
    response_model=SpikeStatisticsDocument,
    responses=responses(404, 422, 503),
)
def get_spike_statistics(
    service: ServiceDependency,
    job_id: str,
    after_step: Annotated[int, Query(ge=-1, lt=2**63)] = -1,
) -> Response:
    """Firing, dead and saturated neurons, gradients and membrane potentials of every layer. A
    training is measured some hundred times at most, so this answers all measurements."""
    with service.database.reading() as session:
        read_job(session, job_id)
        document = find_spike_statistics(session, job_id, after_step=after_step)
    return Response(document.model_dump_json(), media_type="application/json")


def _measurement(attempt: int, data: dict[str, Any]) -> SpikeMeasurement:
    layers = list(data["layers"].values())
    by_layer = {
        key: [layer[key] for layer in layers]
        for key in ("firing_rate", "dead", "saturated", "gradient_norm", "membrane")
    }
    return SpikeMeasurement(
        step=data["step"],
        epoch=data["epoch"],
        attempt=attempt,
        samples=data["samples"],
        readout_gradient_norm=data["readout_gradient_norm"],
        **by_layer,
    )
