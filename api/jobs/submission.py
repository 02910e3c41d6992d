"""From a specification to a job: what it needs, whether it can work, and its row."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.datasets.queries import DatasetFacts, find_facts
from api.errors import FieldError, InvalidRequestError
from api.host.memory import physical_memory
from api.jobs import origins
from api.settings import Settings
from api.store import viewer
from api.store.ids import new_id
from api.store.tables.jobs import Job, JobLabel
from api.telemetry import log
from api.web.idempotency import fingerprint
from saf.config import JobSpecification, ResolvedSpecification, automatic
from saf.config.samples import Samples, misfits
from saf.estimate.memory import Forecast, forecast
from saf.networks.architecture import Architecture
from saf.networks.build import NetworkError, build_for
from saf.networks.fitted import fitted
from saf.sizes import readable


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A specification that can work."""

    asked: JobSpecification
    """As it was sent."""
    specification: ResolvedSpecification
    dataset: DatasetFacts
    architecture: Architecture
    forecast: Forecast
    origin: origins.Origin | None = None
    """What it starts from."""
    warnings: tuple[FieldError, ...] = field(default=())


def resolve(
    session: Session,
    asked: JobSpecification,
    settings: Settings,
    *,
    origin: origins.Origin | None = None,
    is_of_a_job: bool = False,
) -> Submission:
    """Look up the data set and what `init` names, choose what is not said and turn automatic
    settings into numbers, build the network's description, forecast the memory.

    With `origin` that is what the job starts from, whatever has become of the job that it is of.
    What `automatic` says counts in the specification of a job alone (`is_of_a_job`), where the
    service has written it.
    Raises InvalidRequestError, with a pointer to the field, where the job could not work.
    """
    check_priority(settings, asked)
    dataset = find_facts(session, asked.dataset)
    own = asked if is_of_a_job else asked.model_copy(update={"automatic": ()})
    if origin is None:
        own = origins.with_network(session, own)
    samples = Samples(
        f"the data set {dataset.name}",
        dataset.kind,
        dataset.timesteps,
        dataset.is_bounded,
        dataset.shape,
    )
    for misfit in misfits(own, samples):
        raise InvalidRequestError.at(misfit.pointer, f"{misfit.message}; {misfit.remedy}")
    own = fitted(own, samples, dataset.classes)
    specification = _with_numbers(own, dataset, samples.steps(own))
    architecture = _architecture(specification, dataset)
    if origin is None:
        if specification.schedule.start_epoch:
            raise InvalidRequestError.at(
                "/schedule/start_epoch",
                "is for jobs that go on after the end of another, which POST "
                "/v1/jobs/{id}/continue makes; leave it out",
            )
        origin = origins.of_init(session, specification, dataset, architecture)
    limit = settings.job_max_memory_bytes or physical_memory()
    in_time = dataset.timesteps is not None
    needed = forecast(specification, architecture, limit_bytes=limit, in_time=in_time)
    if needed.memory_bytes > limit:
        remedy = (
            f"use a batch of {needed.largest_batch} or less"
            if needed.largest_batch >= 1
            else "not even a batch of one fits: use a smaller network or fewer time steps"
        )
        if (specification.timesteps_at_once or 1) > 1:
            remedy += ", or a smaller timesteps_at_once"
        raise InvalidRequestError.at(
            "/batch_size",
            f"the training needs about {readable(needed.memory_bytes)} and the limit is "
            f"{readable(limit)}; {remedy}",
        )
    return Submission(
        asked=asked,
        specification=specification,
        dataset=dataset,
        architecture=architecture,
        forecast=needed,
        origin=origin,
        warnings=tuple(_warnings(specification, dataset)),
    )


def check_priority(settings: Settings, asked: JobSpecification) -> None:
    """InvalidRequestError for a priority that is for admins."""
    seen_by, least = viewer.current(), settings.admin_priority_below
    if seen_by is None or seen_by.is_admin or asked.priority >= least:
        return
    raise InvalidRequestError.at(
        "/priority",
        f"{asked.priority} is for admins of the service; others use {least} to 9 "
        "(SAF_ADMIN_PRIORITY_BELOW)",
    )


def job_row(
    submission: Submission,
    *,
    idempotency_key: str | None = None,
    retry_of: str | None = None,
) -> Job:
    """The row of a new job; `lifecycle.submit` stores it."""
    specification = submission.specification
    return Job(
        id=new_id("job"),
        name=specification.name,
        specification=specification.model_dump(mode="json"),
        method=specification.method.name,
        network=specification.network.name,
        dataset=submission.dataset.name,
        dataset_id=submission.dataset.id,
        priority=specification.priority,
        parameters=submission.forecast.parameters,
        memory_bytes=submission.forecast.memory_bytes,
        idempotency_key=idempotency_key,
        request_sha256=fingerprint(submission.asked),
        retry_of=retry_of,
        origin=log.ids(),
        latest={},
        labels=[JobLabel(key=key, value=value) for key, value in specification.metadata.items()],
    )


def _architecture(specification: ResolvedSpecification, dataset: DatasetFacts) -> Architecture:
    try:
        in_time = dataset.timesteps is not None
        return build_for(specification, dataset.shape, dataset.classes, in_time=in_time)
    except NetworkError as error:
        raise InvalidRequestError.at(error.pointer, str(error)) from error


def _with_numbers(
    asked: JobSpecification, dataset: DatasetFacts, timesteps: int | None
) -> ResolvedSpecification:
    facts = automatic.DataFacts(dataset.train, dataset.val, timesteps)
    try:
        return automatic.resolve(asked, facts)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        pointer = "".join(f"/{part}" for part in first["loc"])
        raise InvalidRequestError.at(
            pointer, str(first["msg"]).removeprefix("Value error, ")
        ) from error


def _warnings(specification: ResolvedSpecification, dataset: DatasetFacts) -> list[FieldError]:
    found = []
    if specification.batch_size > dataset.train:
        found.append(
            FieldError(
                "/batch_size",
                f"the data set has {dataset.train} training samples, so every batch is all of them",
            )
        )
    if specification.patience is not None and not (dataset.val or specification.validation_share):
        found.append(
            FieldError(
                "/patience",
                "no samples are kept for validation, so the training never ends early; set "
                "validation_share above 0",
            )
        )
    if specification.schedule.warmup_epochs >= specification.epochs:
        found.append(
            FieldError(
                "/schedule/warmup_epochs",
                "the warm-up lasts as long as the training or longer",
            )
        )
    return found
