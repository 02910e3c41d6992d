"""Data sets: the catalogue that is built in, and uploads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import delete, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.documents import Document, Listing, Timestamp, iso, without_nan
from api.errors import ConflictError, FieldError, InvalidRequestError, NotFoundError
from api.problems import responses
from api.service import Service, ServiceDependency
from api.store.database import clock
from api.store.tables import TERMINAL, Dataset, Job, new_id
from api.upload import Upload, receive
from saf.data import CATALOGUE, FORMATS

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])
CHECK_WAIT_SECONDS = 20.0
_NAME = re.compile(r"\w[\w .+\-]{0,199}")
_ID = re.compile(r"(ds|job|art|wrk|req)_\w*")
_ENDINGS = re.compile(r"(\.(zip|tar|tgz|tbz2|txz|gz|bz2|xz|npz|safetensors))+$", re.IGNORECASE)
_UPLOAD_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "One file, or one archive (zip, tar) of several",
                        },
                        "name": {"type": "string", "description": "By default the file's name"},
                        "format": {"enum": ["auto", *FORMATS], "default": "auto"},
                    },
                }
            }
        },
    }
}


class DatasetProblem(Document):
    message: str
    hint: str
    """What to change."""


class DatasetUrls(Document):
    self: str


class DatasetDocument(Document):
    """A data set."""

    id: str
    """Of a built-in data set its name."""
    object: Literal["dataset"] = "dataset"
    name: str
    title: str
    builtin: bool
    status: Literal["checking", "ready", "invalid"]
    problems: list[DatasetProblem]
    """Why it is invalid."""
    format: str
    shape: list[int] | None
    """Channels, height, width of one sample or event frame; null until it is ready."""
    timesteps: int | None
    """Event frames in a sample; null for images."""
    classes: int | None
    class_names: list[str] | None
    counts: dict[str, Any] | None
    """`train` and `test` samples, and of uploads both `per_class`."""
    statistics: dict[str, list[float]] | None
    """`mean` and `std` of each channel of the training samples."""
    bytes: int | None
    """Of the upload."""
    created_at: Timestamp | None
    urls: DatasetUrls


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """What a job has to know of a data set before it is submitted."""

    id: str | None  # None: built in
    name: str
    shape: tuple[int, ...]  # C H W of one sample or event frame
    timesteps: int | None  # of event data
    classes: int
    train: int  # samples to train on


def find_facts(session: Session, name_or_id: str) -> DatasetFacts:
    """The data set of a specification.

    InvalidRequestError when there is none or it is invalid, ConflictError while it is checked.
    """
    if name_or_id in CATALOGUE:
        entry = CATALOGUE[name_or_id]
        return DatasetFacts(
            id=None,
            name=name_or_id,
            shape=entry.shape,
            timesteps=entry.timesteps,
            classes=entry.classes,
            train=entry.train,
        )
    row = _find(session, name_or_id)
    if row is None:
        ready = select(Dataset.name).where(Dataset.status == "ready").order_by(Dataset.id.desc())
        names = [*CATALOGUE, *session.scalars(ready.limit(20))]
        detail = f"there is no data set {name_or_id!r}; there are {', '.join(names)}"
        raise InvalidRequestError(detail, errors=[FieldError("/dataset", detail)])
    if row.status == "checking":
        detail = f"the data set {row.name} is still being checked; try again in a moment"
        raise ConflictError(detail, errors=[FieldError("/dataset", detail)])
    if row.status != "ready" or row.summary is None:
        detail = f"the data set {row.name} cannot be used: {_reasons(row)}"
        raise InvalidRequestError(detail, errors=[FieldError("/dataset", detail)])
    return DatasetFacts(
        id=row.id,
        name=row.name,
        shape=tuple(row.summary["shape"]),
        timesteps=row.summary["timesteps"],
        classes=row.summary["classes"],
        train=row.summary["counts"]["train"],
    )


def find_datasets(
    session: Session, *, limit: int, after: str = ""
) -> tuple[list[DatasetDocument], bool]:
    """The built-in data sets, then the uploads, newest first; and whether there are more."""
    query = select(Dataset).order_by(Dataset.id.desc()).limit(limit + 1)
    documents = [] if after.startswith("ds_") else [_builtin_document(name) for name in CATALOGUE]
    if after.startswith("ds_"):
        query = query.where(Dataset.id < after)
    rows = session.scalars(query).all()
    documents += [_document(row) for row in rows[:limit]]
    return documents, len(rows) > limit


def read_dataset(session: Session, name_or_id: str) -> DatasetDocument:
    """The data set of that id or name, or NotFoundError."""
    if name_or_id in CATALOGUE:
        return _builtin_document(name_or_id)
    return _document(_existing(session, name_or_id))


def delete_dataset(session: Session, service: Service, name_or_id: str) -> None:
    """Remove an upload and its file, or ConflictError while an unfinished job needs it."""
    if name_or_id in CATALOGUE:
        raise ConflictError(f"the data set {name_or_id} is built in and cannot be deleted")
    found = _existing(session, name_or_id)
    session.scalar(select(Dataset.id).where(Dataset.id == found.id).with_for_update())
    jobs = session.scalars(
        select(Job.id).where(Job.dataset_id == found.id, Job.status.not_in(TERMINAL)).limit(5)
    ).all()
    if jobs:
        raise ConflictError(
            f"the data set {found.name} is needed by {', '.join(jobs)}; wait for them or cancel "
            "them first"
        )
    session.execute(update(Job).where(Job.dataset_id == found.id).values(dataset_id=None))
    session.execute(delete(Dataset).where(Dataset.id == found.id))
    if found.sha256 is not None:
        service.store.remove_unused(session, [found.sha256])


async def _receive(service: ServiceDependency, request: Request) -> Upload:
    # Async, so that the file goes to disk as it arrives.
    return await receive(
        request,
        service.checks.directory / new_id("ds"),
        allowed=frozenset({"name", "format"}),
        max_bytes=service.settings.upload_max_bytes,
    )


@router.post(
    "",
    status_code=201,
    summary="Upload a data set",
    openapi_extra=_UPLOAD_FORM,
    responses=responses(400, 403, 409, 413, 415, 422, 503),
)
def upload_dataset(
    service: ServiceDependency, response: Response, upload: Annotated[Upload, Depends(_receive)]
) -> DatasetDocument:
    """Waits some seconds for the check: what cannot be used is refused with the reason. A longer
    check goes on, and `status` is `checking`."""
    dataset_id = upload.directory.name
    try:
        row = _new_row(dataset_id, upload)
        service.checks.expire()
        with service.database.writing() as session:
            _insert(session, row)
    except BaseException as error:
        service.checks.discard(upload.directory, upload.lock)
        if isinstance(error, IntegrityError):
            raise _taken(row.name) from error
        raise
    check = service.checks.start(dataset_id, file=upload.file, format_=row.format, lock=upload.lock)
    try:
        service.checks.wait(check, CHECK_WAIT_SECONDS)
    except Exception:
        with service.database.writing() as session:
            session.execute(delete(Dataset).where(Dataset.id == dataset_id))
        raise
    with service.database.writing() as session:
        checked = _existing(session, dataset_id)
        if checked.status == "invalid":
            session.delete(checked)
        document = _document(checked)
    if document.status == "invalid":
        errors = [FieldError("/file", _sentence(entry)) for entry in document.problems]
        raise InvalidRequestError("; ".join(error.detail for error in errors), errors=errors)
    response.headers["Location"] = document.urls.self
    return document


@router.get("", summary="List data sets", responses=responses(422, 503))
def list_datasets(
    service: ServiceDependency,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
    after: Annotated[str, Query(description="`last_id` of the page before")] = "",
) -> Listing[DatasetDocument]:
    """What is built in comes first, then uploads, newest first."""
    with service.database.reading() as session:
        documents, has_more = find_datasets(session, limit=limit, after=after)
    return Listing(
        data=documents,
        first_id=documents[0].id if documents else None,
        last_id=documents[-1].id if documents else None,
        has_more=has_more,
    )


@router.get("/{dataset}", summary="Read a data set", responses=responses(404, 503))
def get_dataset(service: ServiceDependency, dataset: str) -> DatasetDocument:
    """By id or name."""
    with service.database.reading() as session:
        return read_dataset(session, dataset)


@router.delete(
    "/{dataset}",
    status_code=204,
    summary="Delete an upload",
    responses=responses(403, 404, 409, 503),
)
def remove_dataset(service: ServiceDependency, dataset: str) -> None:
    """Jobs that have ended stay as they are; an unfinished one that needs it forbids it."""
    with service.database.writing() as session:
        delete_dataset(session, service, dataset)


def _new_row(dataset_id: str, upload: Upload) -> Dataset:
    """The row of an upload, or InvalidRequestError for a name or format that cannot be."""
    stem = _ENDINGS.sub("", upload.file_name.replace("\\", "/").rpartition("/")[2])
    name = upload.fields.get("name", "").strip() or re.sub(r"[^\w .+\-]", "-", stem).strip(" .-+")
    if not _NAME.fullmatch(name):
        raise _invalid(
            "/name",
            f"{name!r} is no name: use 1 to 200 letters, digits, spaces and . + - _, beginning "
            "with a letter or digit",
        )
    if _ID.fullmatch(name):
        raise _invalid("/name", f"{name!r} looks like an identifier; use another name")
    if name in CATALOGUE:
        raise ConflictError(
            f"the name {name} belongs to a built-in data set; use another one",
            errors=[FieldError("/name", "is taken")],
        )
    format_ = upload.fields.get("format", "auto")
    if format_ not in ("auto", *FORMATS):
        raise _invalid("/format", f"there is no {format_!r}; use auto, {', '.join(FORMATS)}")
    return Dataset(
        id=dataset_id,
        name=name,
        format=format_,
        status="checking",
        problems=[],
        upload_bytes=upload.bytes,
    )


def _insert(session: Session, row: Dataset) -> None:
    """Store a new row; an invalid upload of the same name makes room for it."""
    before = session.scalar(select(Dataset).where(Dataset.name == row.name))
    if before is not None and before.status != "invalid":
        raise _taken(row.name)
    if before is not None:
        session.delete(before)
        session.flush()
    row.created_at = clock(session)
    session.add(row)
    session.flush()


def _find(session: Session, name_or_id: str) -> Dataset | None:
    return session.scalar(
        select(Dataset).where(or_(Dataset.id == name_or_id, Dataset.name == name_or_id))
    )


def _existing(session: Session, name_or_id: str) -> Dataset:
    row = _find(session, name_or_id)
    if row is None:
        raise NotFoundError(f"there is no data set {name_or_id}")
    return row


def _reasons(row: Dataset) -> str:
    return "; ".join(_sentence(DatasetProblem.model_validate(entry)) for entry in row.problems)


def _sentence(problem: DatasetProblem) -> str:
    return f"{problem.message}. {problem.hint}".strip()


def _taken(name: str) -> ConflictError:
    return ConflictError(
        f"there is a data set named {name}; send another `name`, or delete that one first",
        errors=[FieldError("/name", "is taken")],
    )


def _invalid(pointer: str, detail: str) -> InvalidRequestError:
    return InvalidRequestError(f"{pointer}: {detail}", errors=[FieldError(pointer, detail)])


def _builtin_document(name: str) -> DatasetDocument:
    entry = CATALOGUE[name]
    return DatasetDocument(
        id=name,
        name=name,
        title=entry.title,
        builtin=True,
        status="ready",
        problems=[],
        format="builtin",
        shape=list(entry.shape),
        timesteps=entry.timesteps,
        classes=entry.classes,
        class_names=list(entry.class_names),
        counts={"train": entry.train, "test": entry.test},
        statistics=None,
        bytes=None,
        created_at=None,
        urls=DatasetUrls(self=f"/v1/datasets/{name}"),
    )


def _document(row: Dataset) -> DatasetDocument:
    summary: dict[str, Any] = without_nan(row.summary) if row.summary else {}
    statistics = {"mean": summary["mean"], "std": summary["std"]} if summary else None
    return DatasetDocument(
        id=row.id,
        name=row.name,
        title=row.name,
        builtin=False,
        status=row.status,
        problems=_problems(row.problems),
        format=row.format,
        shape=summary.get("shape"),
        timesteps=summary.get("timesteps"),
        classes=summary.get("classes"),
        class_names=summary.get("class_names"),
        counts=summary.get("counts"),
        statistics=statistics,
        bytes=row.upload_bytes,
        created_at=iso(row.created_at),
        urls=DatasetUrls(self=f"/v1/datasets/{row.id}"),
    )


def _problems(entries: Sequence[Any]) -> list[DatasetProblem]:
    return [DatasetProblem.model_validate(entry) for entry in entries]
