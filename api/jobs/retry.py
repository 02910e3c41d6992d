"""Where a job that follows another one begins: a retry at the last checkpoint of the other or anew,
a job that trains another one further at its end."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError
from sqlalchemy.orm import Session

from api.errors import ConflictError, InvalidRequestError
from api.jobs import origins
from api.jobs.origins import Origin
from api.jobs.submission import Submission, job_row, resolve
from api.settings import Settings
from api.store.jobs import lifecycle
from api.store.runs import checkpoints
from api.store.tables.jobs import TERMINAL, Job, Status
from saf.config import JobSpecification, LearningRate
from saf.config.base import Strict
from saf.config.choice import unknown_names

STOPPED_FROM_OUTSIDE = ("worker_lost", "time_limit", "out_of_memory", "stalled", "internal")
"""Errors that are not in the state of the training, so that it may go on from there."""


class FurtherSchedule(Strict):
    """The learning rate over the further epochs."""

    name: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0, le=1000)] = 0.0


class Continuation(Strict):
    """How a job that has succeeded is trained further."""

    epochs: Annotated[int, Field(ge=1, le=100_000)]
    """So many more."""
    learning_rate: LearningRate | None = None
    """The largest learning rate of the further epochs; null: that of the job."""
    schedule: FurtherSchedule | None = None
    """The learning rate over the further epochs; null: the kind that the job had, without a
    warm-up."""
    patience: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """The training ends after so many further epochs in a row that were no better than the best
    one; null: never, left out: as the job had it."""
    name: Annotated[str, StringConstraints(max_length=200, strip_whitespace=True)] | None = None
    """null: that of the job."""


def continue_job(
    session: Session, job: Job, old: Job, origin: Origin | None, *, from_start: bool
) -> None:
    """Store `job`, a new one with the specification of `old`, and say where it begins: at the last
    checkpoint of `old`, or at `origin`, from which that one began.

    The files of the checkpoints are shared: deleting the old job takes nothing from the new one.
    """
    why = _why_anew(old, from_start)
    rows = checkpoints.locked(session, old.id)
    first = [row for row in rows if row.attempt == checkpoints.ORIGIN]
    own = [] if why else [row for row in rows if row not in first]
    if own:
        _begin_at(job, old, own[0].step)
        text = f"goes on from step {job.step}, the last checkpoint of {old.id}"
    elif origin is not None and origin.step > 0:
        _begin_at(job, old, origin.step)
        why = why or "it left no checkpoint"
        text = (
            f"begins at step {job.step}, the end of {origin.job_id}, not where {old.id} ended: "
            f"{why}"
        )
    else:
        why = why or "it left no checkpoint"
        text = f"begins anew, not where {old.id} ended: {why}"
        if origin is not None:
            text += f"; it starts with the weights of {origin.job_id}"
    lifecycle.submit(session, job, text=text)
    checkpoints.inherit(session, job.id, [*own, *first])
    if origin is not None and not first:
        checkpoints.begin_from(session, job.id, sha256=origin.sha256, step=origin.step)


def train_further(session: Session, old: Job, more: Continuation, settings: Settings) -> Job:
    """Store a new job that trains `old`, which has succeeded, for more epochs.

    Raises ConflictError where it has not, or nothing is left to go on from.
    """
    if old.status != Status.succeeded:
        what = (
            "retry it, and it goes on from its last checkpoint where it was stopped from outside"
            if old.status in TERMINAL
            else "wait for its end"
        )
        raise ConflictError(
            f"job {old.id} is {old.status}; only a job that has succeeded can be trained further; "
            f"{what}"
        )
    specification = specification_of(old)
    origin = origins.left_by(session, old)
    epochs, steps = specification.epochs, old.steps_total
    lost = origin is None or origin.step != old.step
    done = 0 if lost or not steps or epochs == "auto" else old.step * epochs // steps
    if origin is None or not done:
        raise ConflictError(
            f"the checkpoints of job {old.id} were removed or are damaged, so there is nothing to "
            "go on from; submit its specification again"
        )
    longer = _longer(specification, done, more)
    submission = resolve(session, longer, settings, origin=origin, is_of_a_job=True)
    check_data(submission, old)
    job = job_row(submission)
    job.continues = old.id
    job.best_accuracy = old.best_accuracy
    _begin_at(job, old, origin.step)
    job.steps_total = origin.step // done * submission.specification.epochs
    text = f"goes on for {more.epochs} more epochs from step {job.step}, the end of {old.id}"
    lifecycle.submit(session, job, text=text)
    checkpoints.begin_from(session, job.id, sha256=origin.sha256, step=origin.step)
    return job


def specification_of(job: Job) -> JobSpecification:
    """The specification of a job; ConflictError where it is not one of this version."""
    try:
        return JobSpecification.model_validate(job.specification or None)
    except ValueError as error:
        missing = unknown_names(job.specification or {}, JobSpecification)
        why = (
            f"names what no plugin here adds, {', '.join(missing)}"
            if missing
            else "is not one of this version"
        )
        raise ConflictError(f"the specification of job {job.id} {why}; submit a new job") from error


def check_data(submission: Submission, old: Job) -> None:
    """Raise ConflictError where the name of the data set of `old` is that of another one."""
    if submission.dataset.id != old.dataset_id:
        raise ConflictError(
            f"the data set of job {old.id} was deleted, and {old.dataset} is another one; "
            "submit a new job"
        )


def _longer(specification: JobSpecification, done: int, more: Continuation) -> JobSpecification:
    """The specification of a job that goes on after `done` epochs."""
    values: dict[str, Any] = specification.model_dump(mode="json")
    schedule = more.schedule or FurtherSchedule(name=specification.schedule.name)
    values["epochs"] = done + more.epochs
    values["schedule"] = {**schedule.model_dump(), "start_epoch": done}
    given = {"/epochs"}
    if more.learning_rate is not None:
        values["optimizer"]["learning_rate"] = more.learning_rate
        given |= {"/optimizer", "/optimizer/learning_rate"}
    if "patience" in more.model_fields_set:
        values["patience"] = more.patience
    if more.name is not None:
        values["name"] = more.name
    values["automatic"] = [place for place in specification.automatic if place not in given]
    try:
        return JobSpecification.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place, said = f"/{first['loc'][0]}", str(first["msg"])
        if place == "/epochs":
            said = f"{done} epochs are done; {said} in all"
        raise InvalidRequestError.at(place, said) from error


def _begin_at(job: Job, old: Job, step: int) -> None:
    job.step = job.started_step = job.inherited_step = step
    job.steps_total = old.steps_total
    job.micro_batches = old.micro_batches
    if old.steps_total:
        job.epoch = step / old.steps_total * int(old.specification.get("epochs", 0))


def _why_anew(old: Job, from_start: bool) -> str | None:
    if from_start:
        return "as asked"
    if old.status == Status.cancelled:
        return None
    code = (old.error or {}).get("code")
    if code in STOPPED_FROM_OUTSIDE:
        return None
    return f"{code} is in the state of the training, which a checkpoint would bring back"
