"""The checkpoint that a new job starts from: the end of a job that it continues, or that of a job
whose weights it takes (`init`)."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.datasets.queries import DatasetFacts, find_facts
from api.errors import InvalidRequestError, ServiceError
from api.networks.queries import starting_network
from api.store.jobs import lifecycle
from api.store.runs import checkpoints
from api.store.tables.base import Blob
from api.store.tables.jobs import Job
from api.store.tables.results import Artifact, Checkpoint
from saf.config import JobSpecification
from saf.config.methods import with_readout_of
from saf.errors import UserConfigError
from saf.networks.architecture import Architecture
from saf.networks.build import NetworkError, build, encoded_shape
from saf.networks.finetuning import (
    check_layers_fit,
    check_same_network,
    check_same_weights,
    trained_layers,
)

LEFT_BEHIND = "checkpoint.safetensors"
"""The artifact of a job that succeeded with its last state."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The state of another job, in a file of the artifact store."""

    job_id: str
    step: int
    sha256: str


def left_by(session: Session, job: Job) -> Origin | None:
    """The last state of a job: its newest checkpoint, or the file that it left behind. None where
    there is none whose file is sound."""
    rows = session.execute(
        select(Checkpoint.step, Checkpoint.sha256)
        .join(Blob, Blob.sha256 == Checkpoint.sha256)
        .where(Checkpoint.job_id == job.id, Checkpoint.step > 0, Blob.damaged_at.is_(None))
        .order_by(Checkpoint.step.desc())
    )
    found = [Origin(job_id=job.id, step=row.step, sha256=row.sha256) for row in rows]
    file = session.scalar(
        select(Artifact.sha256)
        .join(Blob, Blob.sha256 == Artifact.sha256)
        .where(Artifact.job_id == job.id, Artifact.name == LEFT_BEHIND, Blob.damaged_at.is_(None))
    )
    if file is not None:
        found.append(Origin(job_id=job.id, step=job.step, sha256=file))
    return max(found, key=lambda origin: origin.step, default=None)


def kept_for(session: Session, job: Job) -> Origin | None:
    """The checkpoint that a job was to start from, and has kept."""
    row = session.scalar(
        select(Checkpoint).where(
            Checkpoint.job_id == job.id, Checkpoint.attempt == checkpoints.ORIGIN
        )
    )
    if row is None:
        return None
    init = (job.specification or {}).get("init") or {}
    source = init.get("job") or init.get("network") if row.step == 0 else job.continues
    return Origin(job_id=str(source or job.id), step=row.step, sha256=row.sha256)


def of_init(
    session: Session,
    specification: JobSpecification,
    dataset: DatasetFacts,
    architecture: Architecture,
) -> Origin | None:
    """The state whose weights a job starts with; None where it draws its own.

    Raises InvalidRequestError where `init` names a job without one or of another network, or
    layers that are none.
    """
    init = specification.init
    if init is None:
        return None
    if init.network is not None:
        return _of_network(session, init.network, specification, architecture)
    source = session.get(Job, init.job)
    if source is None:
        raise InvalidRequestError.at("/init/job", f"there is no job {init.job}")
    origin = left_by(session, source)
    if origin is None:
        raise InvalidRequestError.at(
            "/init/job",
            f"job {init.job} is {source.status} and has no checkpoint to start from; name one that "
            "has succeeded and whose files are still there",
        )
    check_fit(session, source, specification, dataset, architecture)
    return Origin(job_id=origin.job_id, step=0, sha256=origin.sha256)


def with_network(session: Session, asked: JobSpecification) -> JobSpecification:
    """A specification as it was sent, with what it does not say itself taken over from the uploaded
    network that `init` names. Raises InvalidRequestError."""
    if asked.init is None or asked.init.network is None:
        return asked
    settings = starting_network(session, asked.init.network).settings
    said = asked.model_dump(mode="json")
    if "readout" not in asked.method.model_fields_set:
        said["method"].pop("readout", None)
    body = {**settings, **{key: said[key] for key in asked.model_fields_set}}
    body["method"] = with_readout_of(body["method"], settings["method"])
    try:
        return JobSpecification.model_validate(body)
    except ValidationError as error:
        raise RequestValidationError(
            [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
        ) from error


def _of_network(
    session: Session,
    network_id: str,
    specification: JobSpecification,
    architecture: Architecture,
) -> Origin:
    """The file of an uploaded network, which has to fit."""
    network = starting_network(session, network_id)
    theirs = Architecture.model_validate(network.settings["network"]["description"])
    try:
        check_layers_fit(theirs, architecture)
    except UserConfigError as error:
        raise InvalidRequestError.at(
            "/init/network", f"network {network.id} does not fit: {error}; {error.hint}"
        ) from error
    if network.settings.get("precision") == "float64" != specification.precision:
        raise InvalidRequestError.at(
            "/precision",
            f"the weights of {network.id} are float64 and would be rounded; set precision to "
            "float64, or leave it out",
        )
    check_freeze(specification, architecture)
    return Origin(job_id=network.id, step=0, sha256=network.sha256)


def check_fit(
    session: Session,
    source: Job,
    specification: JobSpecification,
    dataset: DatasetFacts,
    architecture: Architecture,
) -> None:
    """Raise InvalidRequestError unless the weights of `source` fit, `init.freeze` the layers."""
    try:
        theirs = JobSpecification.model_validate(source.specification or None)
    except ValueError as error:
        raise InvalidRequestError.at(
            "/init/job", f"the specification of job {source.id} is not one of this version"
        ) from error
    try:
        _check_takes(theirs, architecture)
        check_same_network(theirs.network, specification.network)
        if (samples := _samples_of(session, source)) is not None:
            shape = encoded_shape(theirs, samples.shape)
            check_same_weights(build(theirs.network, shape, samples.classes), architecture)
    except (UserConfigError, NetworkError) as error:
        hint = f"; {error.hint}" if isinstance(error, UserConfigError) else ""
        raise InvalidRequestError.at(
            "/init/job", f"job {source.id} does not fit: {error}{hint}"
        ) from error
    check_freeze(specification, architecture)


def _check_takes(theirs: JobSpecification, architecture: Architecture) -> None:
    """Raise UserConfigError where the network of `theirs` cannot take the samples that
    `architecture` takes, so that to ask for it is no remedy."""
    if theirs.network.name == "uploaded":
        return
    try:
        build(theirs.network, architecture.input_shape, architecture.classes)
    except NetworkError as error:
        raise UserConfigError(
            f"its {str(error).partition('; use ')[0]}",
            hint="start from a job on samples like these, or leave init out",
        ) from error


def check_freeze(specification: JobSpecification, architecture: Architecture) -> None:
    """Raise InvalidRequestError where `init.freeze` names no layer, or leaves none to train."""
    try:
        trained_layers(architecture, specification.init.freeze if specification.init else ())
    except UserConfigError as error:
        raise InvalidRequestError.at("/init/freeze", f"{error}; {error.hint}") from error


def store(session: Session, job: Job, origin: Origin | None) -> None:
    """Store a new job as queued, and keep what it starts from until it has ended."""
    if origin is None:
        lifecycle.submit(session, job)
        return
    lifecycle.submit(session, job, text=f"starts with the weights of {origin.job_id}")
    checkpoints.begin_from(session, job.id, sha256=origin.sha256, step=origin.step)


def _samples_of(session: Session, job: Job) -> DatasetFacts | None:
    """Summary of the data that a job was trained on; None where they are gone."""
    try:
        return find_facts(session, job.dataset_id or job.dataset)
    except ServiceError:
        return None
