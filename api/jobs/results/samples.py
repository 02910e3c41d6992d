"""Images of a job's evaluation split as they are in its data, for a network that runs elsewhere."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path

from api.errors import NotFoundError
from api.jobs.queries import read_job
from api.jobs.results.predict import samples_of
from api.jobs.results.predict_process import Predictor
from api.web.dependencies import ServiceDependency
from api.web.problems.documents import responses
from api.web.schemas import Document

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


class SampleDocument(Document):
    """An image of the evaluation split."""

    object: Literal["sample"] = "sample"
    job_id: str
    sample: int
    """Its number, counted from 0."""
    label: int
    """The right class."""
    shape: list[int]
    """Channels, height and width."""
    pixels: str
    """The bytes `C H W` in base64; the network sees each divided by 255."""


@router.get(
    "/{job_id}/samples/{sample}",
    summary="Read an image of the evaluation split",
    responses=responses(404, 410, 422, 503),
)
def get_sample(
    service: ServiceDependency, job_id: str, sample: Annotated[int, Path(ge=0, lt=2**31)]
) -> SampleDocument:
    """What `POST /v1/jobs/{job_id}/predict` shows to the network for `{"sample": …}`: the page of a
    job reads it to predict in the browser. 404 where the data set has no such sample, or its
    samples are event frames, series or numbers that are no bytes."""
    with service.database.reading() as session:
        samples = samples_of(session, read_job(session, job_id))
    answer = service.part(Predictor).ask({"bytes_of": samples.sample(service, sample)})
    if not answer["ok"]:
        hint = f"; {answer['hint']}" if answer["hint"] else ""
        raise NotFoundError(answer["message"] + hint)
    return SampleDocument(
        job_id=job_id,
        sample=sample,
        **{key: answer[key] for key in ("label", "shape", "pixels")},
    )
