"""A file that has arrived becomes a data set: its row, its check, and the answer."""

from __future__ import annotations

import re

from fastapi import Response
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.datasets.checks import Checks, settings_of
from api.datasets.queries import document, existing, sentence
from api.datasets.room import lacking_for_upload
from api.datasets.schemas import DatasetDocument
from api.datasets.settings import check_format, check_settings
from api.errors import ConflictError, FieldError, InvalidRequestError, TooLargeError
from api.settings import Settings
from api.store import viewer
from api.store.database import clock
from api.store.datasets import count_alone
from api.store.ids import is_id
from api.store.tables.uploads import Dataset
from api.store.visibility import EVERYTHING
from api.web.dependencies import Service
from api.web.idempotency import made_before, remember, written
from api.web.multipart import Upload
from saf.data import CATALOGUE
from saf.data.formats.detect import ARCHIVES

CHECK_WAIT_SECONDS = 20.0
_NAME = re.compile(r"\w[\w .+\-]{0,199}")
_ID = re.compile(r"(ds|up|job|art|wrk|req)_\w*")
_ENDINGS = re.compile(f"({'|'.join(map(re.escape, (*ARCHIVES, '.safetensors')))})+$", re.IGNORECASE)


def accept(
    service: Service,
    response: Response,
    upload: Upload,
    user: str,
    idempotency_key: str | None,
) -> DatasetDocument:
    """Make a data set of an upload, and wait some seconds for its check.

    Raises InvalidRequestError for what cannot be used, ConflictError for a name that is taken,
    TooLargeError where the user has as much as one may have.
    """
    upload.taken.set()
    checks = service.part(Checks)
    dataset_id = upload.directory.name
    name = ""
    try:
        row = _new_row(upload, user)
        name = row.name
        checks.expire()
        earlier, replaced = written(
            service,
            lambda session: _stored(session, service.settings, row, upload, idempotency_key),
        )
    except BaseException as error:
        checks.discard(upload.directory, upload.lock)
        if isinstance(error, IntegrityError):
            raise _taken(name) from error
        raise
    upload.stored(dataset_id if earlier is None else earlier.id)
    if replaced is not None:
        checks.clear(replaced)
    if earlier is not None:
        checks.discard(upload.directory, upload.lock)
        response.headers["Location"] = earlier.urls.self
        response.status_code = 200
        return earlier
    check = checks.start(dataset_id, file=upload.file, settings=settings_of(row), lock=upload.lock)
    try:
        checks.wait(check, CHECK_WAIT_SECONDS)
    except Exception:
        with service.database.writing() as session:
            session.execute(delete(Dataset).where(Dataset.id == dataset_id))
        raise
    with service.database.writing() as session:
        checked = existing(session, dataset_id)
        if checked.status == "invalid":
            session.delete(checked)
        answer = document(session, checked)
    if answer.status == "invalid":
        raise refused(answer)
    response.headers["Location"] = answer.urls.self
    return answer


def refused(dataset: DatasetDocument) -> InvalidRequestError:
    """The problems of a data set, each with the field of the request that is to be changed."""
    errors = [FieldError(f"/{each.setting or 'file'}", sentence(each)) for each in dataset.problems]
    return InvalidRequestError("; ".join(error.detail for error in errors), errors=errors)


def _new_row(upload: Upload, user: str) -> Dataset:
    """The row of an upload, or InvalidRequestError for a name or format that cannot be."""
    stem = _ENDINGS.sub("", upload.file_name.replace("\\", "/").rpartition("/")[2])
    of_file = re.sub(r"[^\w .+\-]", "-", stem).strip(" .-+")
    name = str(upload.fields.get("name") or "").strip() or of_file
    if not _NAME.fullmatch(name):
        raise InvalidRequestError.at(
            "/name",
            f"{name!r} is no name: use 1 to 200 letters, digits, spaces and . + - _, beginning "
            "with a letter or digit",
        )
    if _ID.fullmatch(name) or is_id(name):
        raise InvalidRequestError.at(
            "/name", f"{name!r} looks like an identifier; use another name"
        )
    if name in CATALOGUE:
        raise ConflictError(
            f"the name {name} belongs to a built-in data set; use another one",
            errors=[FieldError("/name", "is taken")],
        )
    check_format(format_ := str(upload.fields.get("format") or "auto"))
    # An empty field of a form says nothing.
    settings = {
        key: value
        for key, value in upload.fields.items()
        if key not in ("name", "format") and value not in ("", None)
    }
    check_settings(settings)
    return Dataset(
        id=upload.directory.name,
        name=name,
        format=format_,
        status="checking",
        problems=[],
        upload_bytes=upload.bytes,
        settings=settings or None,
        uploaded_by=user,
    )


def _stored(
    session: Session, settings: Settings, row: Dataset, upload: Upload, key: str | None
) -> tuple[DatasetDocument | None, str | None]:
    """Store a new row, or return the data set that the same request made before; and the id of one
    that has made room."""
    request: tuple[object, ...] = ("upload", row.name, row.format, upload.file_name, upload.sha256)
    if row.settings:
        request += tuple(sorted((name, str(value)) for name, value in row.settings.items()))
    earlier = made_before(session, Dataset, key, *request)
    if earlier is not None:
        return document(session, earlier), None
    count_alone(session)
    replaced = make_place(session, row.name)
    if why := lacking_for_upload(session, settings, row):
        raise TooLargeError(f"{why}; delete some first, or answer what they ask")
    row.created_at = clock(session)
    session.add(row)
    session.flush()
    remember(session, key, row.id, *request)
    return None, replaced


def make_place(session: Session, name: str) -> str | None:
    """Remove the upload of that name if it is invalid, or nobody has said how to read it: its id.
    ConflictError where it is any other."""
    # Locked, so that nobody answers it at this moment.
    named = select(Dataset).where(Dataset.name == name).with_for_update()
    before = session.scalar(named.execution_options(**EVERYTHING))
    if before is None:
        return None
    is_theirs = viewer.may_change(before.owner_id, before.project_id)
    if before.status not in ("invalid", "needs_choice") or not is_theirs:
        raise _taken(name)
    session.delete(before)
    session.flush()
    return before.id


def _taken(name: str) -> ConflictError:
    return ConflictError(
        f"there is a data set named {name}; send another `name`, or delete that one first",
        errors=[FieldError("/name", "is taken")],
    )
