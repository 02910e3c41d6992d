"""Outcomes of an attempt: the error in words, and what follows: failure, another try, or smaller
batches."""

from __future__ import annotations

import signal

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.settings import Settings
from api.store.database import why_away
from api.store.jobs import lifecycle
from api.store.jobs.leases import Claim
from saf.config import ResolvedSpecification
from saf.errors import (
    DataError,
    InternalError,
    OutOfMemoryError,
    StalledError,
    TimeLimitError,
    TrainingError,
)
from saf.sizes import readable
from worker.attempts.inputs import InputChangedError
from worker.attempts.watchdog import Phase, Stall
from worker.processes.protocol import Failure


def write(session: Session, claim: Claim, failure: Failure, settings: Settings) -> None:
    """Write that the attempt failed: for good, or to be tried again where that can help."""
    error = {"code": failure.code, "message": failure.message, "hint": failure.hint}
    parts = _micro_batches(claim, failure)
    if parts is not None:
        error["message"] += (
            f"; from now on each batch is computed in {parts} parts, whose gradients are added up: "
            "the same training in less memory"
        )
    if parts is None and not failure.transient:
        lifecycle.fail(session, claim, **error)
        return
    lifecycle.try_again(
        session,
        claim,
        **error,
        max_losses=settings.max_losses,
        retry_seconds=settings.retry_seconds,
        micro_batches=parts,
    )


def of_training(error: TrainingError) -> Failure:
    """Outcome of an error that the training process reported."""
    return Failure(code=error.code, message=str(error), hint=error.hint)


def of_inputs(error: DataError | InputChangedError) -> Failure:
    """Outcome where a file that the attempt read is damaged, or was for a while."""
    if isinstance(error, DataError):
        return of_training(error)
    return Failure(
        code=DataError.code,
        message=str(error),
        hint="the service never writes to a file of the artifact store again: find out who does, "
        "then retry the job",
        transient=True,
    )


def out_of_time(claim: Claim) -> Failure:
    """Outcome where a training that hung beyond its time limit was ended."""
    limit = claim.specification["max_runtime_seconds"]
    return Failure(
        code=TimeLimitError.code,
        message=f"the training ran for longer than its max_runtime_seconds of {limit:g}",
        hint="raise max_runtime_seconds or train for fewer epochs",
    )


def stalled(stall: Stall, state: str) -> Failure:
    """Outcome where a training that hung was ended."""
    return Failure(
        code=StalledError.code,
        message=f"the training hung: {stall}; {state}",
        hint="the end of the job's log says where each of its threads was; where the training is "
        f"only slow, raise SAF_STALL_{'' if stall.phase is Phase.training else 'SETUP_'}SECONDS "
        "of the worker, then retry the job",
        transient=True,
    )


def killed_for_memory(claim: Claim) -> Failure:
    """Outcome where the system killed the training process because memory ran out."""
    specification = _specification(claim)
    at_once = 1 if specification is None else specification.samples_at_once
    return Failure(
        code=OutOfMemoryError.code,
        message="the system killed the training process because memory ran out (forecast for the "
        f"batch as asked for: {readable(claim.memory_bytes)}; {at_once} samples at once)",
        hint="take a smaller batch_size or more micro_batches, or give the worker fewer slots or "
        "more memory",
        samples=at_once // 2 or None,
    )


def in_words(status: int | None) -> str:
    """Describe the end of a process without a report, by its exit status; negative: the signal."""
    if status is None or status >= 0:
        return f"the training process ended with exit status {status} and without a result"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = "; the system does that when memory runs out" if -status == signal.SIGKILL else ""
    return f"the training process was killed by {name}{hint}"


def of_the_worker(error: Exception) -> Failure:
    """Outcome of an error of the worker itself. A disk may recover; a defect stays."""
    hint = "this is a defect of the service; the worker's log has the details"
    said = why_away(error) if isinstance(error, SQLAlchemyError) else error  # not what was written
    if isinstance(error, OSError):
        hint = "look at the disk of the worker and at the artifact store, then retry the job"
    return Failure(
        code=InternalError.code,
        message=f"the worker: {type(error).__name__}: {said}",
        hint=hint,
        transient=isinstance(error, OSError),
    )


def _micro_batches(claim: Claim, failure: Failure) -> int | None:
    """Number of micro-batches to try next; None where more do not help or are not wanted."""
    specification = _specification(claim)
    if specification is None or failure.samples is None or failure.samples < 1:
        return None
    if failure.code != OutOfMemoryError.code or specification.on_out_of_memory != "split":
        return None
    if specification.method.updates_at_each_step:
        return None
    needed = -(-specification.batch_size // failure.samples)
    parts = min(specification.batch_size, max(2 * specification.micro_batches, needed))
    return parts if parts > specification.micro_batches else None


def _specification(claim: Claim) -> ResolvedSpecification | None:
    try:
        return ResolvedSpecification.model_validate(claim.specification)
    except ValidationError:  # of an older version: the training process says what is wrong
        return None
