"""Trying a job's network: an image or a sample of the data set goes in, its prediction comes out,
step by step. Until a job has succeeded, its newest checkpoint predicts."""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.datastructures import UploadFile

from api.datasets.previews import builtin_summary
from api.errors import (
    ConflictError,
    DamagedFileError,
    GoneError,
    InvalidRequestError,
    unreadable,
)
from api.jobs.queries import read_job
from api.jobs.results.predict_process import Predictor
from api.store.blobs.base import StoreError
from api.store.blobs.verified import DamagedError
from api.store.runs import checkpoints
from api.store.soundness import readable
from api.store.tables.jobs import Job
from api.store.tables.results import Artifact
from api.store.tables.uploads import Dataset
from api.web.dependencies import Service, ServiceDependency
from api.web.problems.documents import responses
from api.web.schemas import Document
from saf.data import CATALOGUE

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
IMAGES = ("image/png", "image/jpeg")
TABLES = ("text/csv", "application/octet-stream")
IMAGE_SIGNS = (b"\x89PNG", b"\xff\xd8")  # that the files begin with
NETWORK = "lif.safetensors"
TRIES = 2  # newer checkpoints may remove the one that was found


class Question(BaseModel):
    """The sample to predict: exactly one of these."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    sample: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """A sample of the evaluation split, counted from 0."""
    image: Annotated[str, Field(max_length=1_400_000)] | None = None
    """A PNG or JPEG in base64."""
    pixels: list[Any] | None = None
    """Nested lists `C H W`, values from 0 to 1."""
    series: list[Any] | None = None
    """Nested lists `T C`, the values of each channel at each time step, as they are in the data."""
    file: Annotated[str, Field(max_length=1_400_000)] | None = None
    """Series in base64: a CSV, a row for each time step and a column for each channel, or a `.npy`
    of shape `T C`."""

    @model_validator(mode="after")
    def _is_one(self) -> Question:
        given = (self.sample, self.image, self.pixels, self.series, self.file)
        if sum(value is not None for value in given) != 1:
            raise ValueError("give exactly one of sample, image, pixels, series and file")
        return self


class LayerActivity(Document):
    """Spikes and potentials of one layer."""

    name: str
    shape: list[int]
    neurons: int
    spikes: list[int]
    """At each time step."""
    shown: list[int] | None = None
    """With `detail`: some of its neurons, the same ones always, by their number …"""
    raster: list[list[int]] | None = None
    """… at each time step, which of these (their positions in `shown`) fire …"""
    membrane: list[list[float]] | None = None
    """… and u / V of each before the reset; 1 is the threshold."""


class Prediction(Document):
    """Prediction of a job's network for one sample."""

    object: Literal["prediction"] = "prediction"
    job_id: str
    checkpoint_step: int | None
    """The step of the checkpoint that the network was taken from; null: it is `lif.safetensors`."""
    timesteps: int
    class_names: list[str]
    predicted: int
    """The class with the highest score after the last step."""
    label: int | None
    """The right class, of a sample of the data set."""
    scores: list[list[float]]
    """Of each class, after each time step."""
    predictions: list[int]
    """The class with the highest score after each time step."""
    image: str
    """What the network saw, as a data URL; of event frames their mean, of series their curves, or
    of many channels a map with time from left to right."""
    frames: str | None
    """Event frames from left to right, likewise; null for images and series, and where they are too
    many."""
    frame_size: tuple[int, int]
    """Height and width of the image or of each frame, in pixels."""
    scaled_from: tuple[int, int] | None
    """Width and height of an image that had to be fitted."""
    layers: list[LayerActivity]


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
            "text/csv": {"schema": {"type": "string"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            "application/json": {"schema": Question.model_json_schema(), "example": {"sample": 0}},
        },
    }
}


async def _question(request: Request) -> Question:
    """The body in any of its forms. Raises InvalidRequestError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=1) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise InvalidRequestError.at(
                    "file",
                    "send the image, or a CSV or .npy of series, as the field `file`: "
                    "-F file=@digit.png",
                )
            return _file(await file.read())
    if kind in IMAGES:
        return _image(await request.body())
    if kind in TABLES:
        return _file(await request.body())
    if kind != "application/json":
        raise InvalidRequestError.at(
            "content-type",
            f"Content-Type is {kind!r}, and has to be one of "
            f"{', '.join((*IMAGES, *TABLES, 'multipart/form-data', 'application/json'))}",
        )
    try:
        return Question.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidRequestError.at(
            "/" + "/".join(map(str, first["loc"])), first["msg"]
        ) from error


@router.post(
    "/{job_id}/predict",
    summary="Predict with the network of a job",
    responses=responses(404, 409, 410, 413, 422, 503),
    openapi_extra=_BODY,
)
def predict(
    service: ServiceDependency,
    job_id: str,
    question: Annotated[Question, Depends(_question)],
    detail: Annotated[bool, Query(description="With spikes and potentials of neurons")] = False,
) -> Prediction:
    """Runs `lif.safetensors` on one sample: `curl --data-binary @digit.png -H 'content-type:
    image/png'`, or `{"sample": 3}` for one of the evaluation split. An image is made gray or RGB,
    cut to the network's proportions around its middle, scaled, and divided by 255. To a network for
    series goes a CSV, a row for each time step and a column for each channel: `curl --data-binary
    @vowel.csv -H 'content-type: text/csv'`; or a `.npy` of shape `T C`. Where the series of the
    data set are of different lengths, it may have fewer rows, and ends there.

    Until the job has succeeded, the newest checkpoint is run, with its weights folded and LIF
    neurons in place, but not rounded to a grid."""
    for attempt in range(TRIES):
        with service.database.reading() as session:
            job = read_job(session, job_id)
            network = _network(session, job)
            dataset = None if question.sample is None else samples_of(session, job)
            lengths = (summary_of(session, job) or {}).get("lengths")
        try:
            asked: dict[str, Any] = {**_given(service, network), "detail": detail}
            asked["lengths"] = lengths is not None
        except GoneError:
            if network.step is None or attempt == TRIES - 1:
                raise
            continue
        if dataset is not None:
            asked["sample"] = dataset.sample(service, question.sample)
        asked |= question.model_dump(exclude={"sample"}, exclude_none=True)
        answer = service.part(Predictor).ask(asked)
        if answer["ok"]:
            found = {key: answer[key] for key in answer if key != "ok"}
            return Prediction(job_id=job_id, checkpoint_step=network.step, **found)
        if network.step is None or service.store.find(network.sha256) is not None:
            break
    hint = f"; {answer['hint']}" if answer["hint"] else ""
    raise InvalidRequestError(answer["message"] + hint)


class _Network(NamedTuple):
    """The file of a job's network; of a checkpoint also its step, and what is said of the data."""

    sha256: str
    step: int | None = None
    summary: dict[str, Any] | None = None


class Samples(NamedTuple):
    """The data set of a job: its file, or none where it is built in."""

    name: str
    sha256: str | None

    def sample(self, service: Service, index: int | None) -> dict[str, Any]:
        """One of the evaluation split, for the prediction process."""
        path = self.name if self.sha256 is None else _path(service, self.sha256, self.name)
        return {"dataset": path, "builtin": self.sha256 is None, "index": index}


def _given(service: Service, network: _Network) -> dict[str, str]:
    """Path of the network for the prediction process."""
    if network.step is None:
        return {"network": _path(service, network.sha256, NETWORK)}
    path = _path(service, network.sha256, "of the checkpoint")
    return {"checkpoint": path, "summary": json.dumps(network.summary)}


def _network(session: Session, job: Job) -> _Network:
    sha256 = session.scalar(
        select(Artifact.sha256).where(Artifact.job_id == job.id, Artifact.name == NETWORK)
    )
    if sha256 is not None:
        return _Network(sha256)
    checkpoint = checkpoints.newest(session, job.id)
    if checkpoint is None:
        raise ConflictError(
            f"job {job.id} is {job.status} and has neither {NETWORK} nor a checkpoint; its network "
            "can predict once one is written, after the first epoch or minute"
        )
    summary = summary_of(session, job)
    if summary is None:
        raise GoneError(f"the data set {job.dataset} was deleted, and the checkpoint needs it")
    return _Network(checkpoint.sha256, checkpoint.step, summary)


def summary_of(session: Session, job: Job) -> dict[str, Any] | None:
    """`Dataset.summary` of the data of a job; None where they are gone."""
    if job.dataset_id is None:
        return builtin_summary(job.dataset) if job.dataset in CATALOGUE else None
    dataset = session.get(Dataset, job.dataset_id)
    return None if dataset is None else readable(dataset)[0].summary


def samples_of(session: Session, job: Job) -> Samples:
    """Where the samples of a job are. Raises GoneError."""
    if job.dataset_id is None:
        return Samples(job.dataset, None)
    dataset = session.get(Dataset, job.dataset_id)
    if dataset is None or dataset.sha256 is None:
        raise GoneError(f"the data set {job.dataset} was deleted; show an image instead")
    return Samples(dataset.name, dataset.sha256)


def _path(service: Service, sha256: str, name: str) -> str:
    try:
        return str(service.store.local(sha256))
    except FileNotFoundError as error:
        raise GoneError(f"the file {name} is not in the artifact store of this server") from error
    except DamagedError as error:
        remedy = "submit the specification again, or upload the data set again"
        raise DamagedFileError(f"the file {name}", remedy) from error
    except StoreError:
        raise
    except OSError as error:
        raise unreadable(name, error) from error


def _file(content: bytes) -> Question:
    if content.startswith(IMAGE_SIGNS):
        return _image(content)
    if not content:
        raise InvalidRequestError.at("file", "the file is empty")
    return Question(file=base64.b64encode(content).decode())


def _image(content: bytes) -> Question:
    if not content:
        raise InvalidRequestError.at("file", "the image is empty")
    return Question(image=base64.b64encode(content).decode())
