"""Spike vitals of a job: what looks into its network in training have found."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.jobs.queries import read_job
from api.store.runs import spike_stats
from api.web.dependencies import ServiceDependency
from api.web.problems import responses
from api.web.schemas import Document
from saf.training.events import MEMBRANE_RANGE

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


class Look(Document):
    """The network after one iteration, on a few samples of its batch; lists are by layer."""

    step: int
    epoch: float
    attempt: int
    samples: int
    firing_rate: list[float | None]
    """Spikes per neuron and step."""
    dead: list[float | None]
    """Share of the neurons that never fired."""
    saturated: list[float | None]
    """Share of the neurons that fired at 95 % of the steps or more."""
    gradient_norm: list[float | None]
    """Of all parameters of the layer, before any clipping."""
    readout_gradient_norm: float | None
    membrane: list[list[float]]
    """Histogram of u / V before the reset, as shares; the end bins hold what lies beyond."""


class VitalsDocument(Document):
    """Looks into the network of a job, in the order of their steps."""

    object: Literal["vitals"] = "vitals"
    job_id: str
    layers: list[str]
    membrane_range: tuple[float, float]
    """Of u / V; the threshold is 1."""
    looks: list[Look]


def find_vitals(
    session: Session, job_id: str, *, after_step: int = -1, newest: int | None = None
) -> VitalsDocument:
    """The looks after a step; with `newest`, only so many, the last ones."""
    found = spike_stats.read(session, job_id, after_step=after_step, newest=newest)
    return VitalsDocument(
        job_id=job_id,
        layers=list(found[-1].data["layers"]) if found else [],
        membrane_range=MEMBRANE_RANGE,
        looks=[_look(row.attempt, row.data) for row in found],
    )


@router.get(
    "/{job_id}/vitals",
    summary="Spike vitals of a job",
    response_model=VitalsDocument,
    responses=responses(404, 422, 503),
)
def get_vitals(
    service: ServiceDependency,
    job_id: str,
    after_step: Annotated[int, Query(ge=-1, lt=2**63)] = -1,
) -> Response:
    """Firing, dead and saturated neurons, gradients and membrane potentials of every layer. A
    training takes some hundred looks at most, so this is all of them."""
    with service.database.reading() as session:
        read_job(session, job_id)
        document = find_vitals(session, job_id, after_step=after_step)
    return Response(document.model_dump_json(), media_type="application/json")


def _look(attempt: int, data: dict[str, Any]) -> Look:
    layers = list(data["layers"].values())
    by_layer = {
        key: [layer[key] for layer in layers]
        for key in ("firing_rate", "dead", "saturated", "gradient_norm", "membrane")
    }
    return Look(
        step=data["step"],
        epoch=data["epoch"],
        attempt=attempt,
        samples=data["samples"],
        readout_gradient_norm=data["readout_gradient_norm"],
        **by_layer,
    )
