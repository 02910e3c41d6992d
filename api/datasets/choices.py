"""Answers to what an upload leaves open, and the pictures that help to find them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request, Response
from fastapi import Path as PathParameter
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from api.datasets import accept
from api.datasets.accept import refused
from api.datasets.checks import Checks, settings_of
from api.datasets.previews import FOR_EVER
from api.datasets.queries import document, existing
from api.datasets.schemas import DatasetDocument
from api.datasets.settings import check_format, check_settings, read_settings
from api.errors import ConflictError, InvalidRequestError, NotFoundError
from api.host.lock import DirectoryInUseError, DirectoryLock
from api.store.database import now
from api.store.tables.uploads import CandidatePicture, Dataset
from api.web.dependencies import ServiceDependency
from api.web.idempotency import IdempotencyKey, made_before, remember
from api.web.multipart import stored_file
from api.web.problems.documents import responses
from saf.data import CATALOGUE

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])
Choices = dict[str, str | int | float | bool]


async def _once(request: Request) -> None:
    """Refuse what the model does not see: keys that stand there twice, NaN, texts of any length."""
    read_settings(await request.body())


_EXAMPLE: dict[str, Any] = {"layout": "N H W C"}


@router.post(
    "/{dataset}/choices",
    summary="Say how an upload is to be read",
    dependencies=[Depends(_once)],
    responses=responses(403, 404, 409, 422, 503),
)
def choose(
    service: ServiceDependency,
    dataset: str,
    choices: Annotated[Choices, Body(min_length=1, max_length=50, examples=[_EXAMPLE])],
    idempotency_key: IdempotencyKey = None,
) -> DatasetDocument:
    """Settings by name, as in `questions`. The upload is checked again, which the answer waits for
    some seconds. With a setting that does not fit it stays `needs_choice`, and can be answered
    again. The same answer may be sent twice."""
    named = {name: value for name, value in choices.items() if name != "format"}
    check_settings(named)
    if "format" in choices:
        check_format(str(choices["format"]))
    checks = service.part(Checks)
    if dataset in CATALOGUE:
        raise ConflictError(f"the data set {dataset} is built in, and leaves nothing open")
    with service.database.writing() as session:
        row = existing(session, dataset)
        request = ("choices", row.id, *sorted((key, str(value)) for key, value in choices.items()))
        if made_before(session, Dataset, idempotency_key, *request) is not None:
            return document(session, row)
        if _is_said(row, choices):
            return document(session, row)
    try:
        file, lock = _locked(checks, row)
    except ConflictError:
        # The same answer may have come at the same moment.
        with service.database.reading() as session:
            row = existing(session, row.id)
            if _is_said(row, choices):
                return document(session, row)
        raise
    started = False
    try:
        with service.database.writing() as session:
            asked = session.scalar(
                update(Dataset)
                .where(Dataset.id == row.id, Dataset.status == "needs_choice")
                .values(status="checking", answer=dict(choices), checked_at=now())
                .returning(Dataset)
            )
            if asked is None:
                again = existing(session, row.id)
                if _is_said(again, choices):
                    return document(session, again)
                raise _settled(again)
            remember(session, idempotency_key, row.id, *request)
            settings = settings_of(asked)
        check = checks.start(row.id, file=file, settings=settings, lock=lock)
        started = True
    except IntegrityError as error:  # it was looked for before, and came since
        raise ConflictError(
            f"the Idempotency-Key {idempotency_key!r} was used for another request at this moment; "
            "use a new key"
        ) from error
    finally:
        if not started:
            lock.release()
    checks.wait(check, accept.CHECK_WAIT_SECONDS)
    with service.database.reading() as session:
        answer = document(session, existing(session, row.id))
    if answer.status in ("needs_choice", "invalid") and answer.problems:
        raise _refused(answer, choices)
    return answer


@router.get(
    "/{dataset}/candidates/{question}-{candidate}.png",
    summary="A picture of one way to read an upload",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **responses(404, 422, 503)},
)
def get_candidate_picture(
    service: ServiceDependency,
    dataset: str,
    question: Annotated[int, PathParameter(ge=0, lt=1000)],
    candidate: Annotated[int, PathParameter(ge=0, lt=1000)],
    v: str = "",
) -> Response:
    """As `questions` name them; they are there as long as the upload is `needs_choice`."""
    with service.database.reading() as session:
        found = session.scalar(
            select(CandidatePicture.picture).where(
                CandidatePicture.dataset_id == existing(session, dataset).id,
                CandidatePicture.question == question,
                CandidatePicture.candidate == candidate,
            )
        )
    if found is None:
        raise NotFoundError(f"there is no such picture of {dataset}")
    headers = {"Cache-Control": FOR_EVER if v else "private, no-cache"}
    return Response(found, headers=headers, media_type="image/png")


def _is_said(row: Dataset, choices: Mapping[str, Any]) -> bool:
    """Whether an upload is, or is being, read with just these answers."""
    if row.status not in ("checking", "ready"):
        return False
    said = settings_of(row)
    return all(str(said.get(name)) == str(value) for name, value in choices.items())


def _settled(row: Dataset) -> ConflictError:
    if row.status == "checking":
        return ConflictError(f"the data set {row.name} is being checked; try again in a moment")
    said = ", ".join(f"{name} = {value}" for name, value in settings_of(row).items())
    return ConflictError(
        f"the data set {row.name} is {row.status}, read with {said}, and never changes; upload the "
        "file again under another name to read it in another way"
    )


def _locked(checks: Checks, row: Dataset) -> tuple[Path, DirectoryLock]:
    """The file of an upload that waits for an answer, and the lock of its directory; or
    ConflictError."""
    if row.status != "needs_choice":
        raise _settled(row)
    directory = checks.directory / row.id
    file = stored_file(directory)
    if file is None:
        raise ConflictError(
            f"the upload of {row.name} is not on this machine of the service (or it is gone): send "
            "the request again, to reach another one, or upload the file again with these settings"
        )
    try:
        return file, DirectoryLock(directory, patience=0.5, make=False)
    except (DirectoryInUseError, FileNotFoundError) as error:
        raise ConflictError(
            f"the data set {row.name} is being checked; try again in a moment"
        ) from error


def _refused(dataset: DatasetDocument, choices: Mapping[str, Any]) -> InvalidRequestError:
    """Problems with an answer are problems of what was answered."""
    for problem in dataset.problems:
        problem.setting = problem.setting or next(iter(choices))
    return refused(dataset)
