"""Data sets: the catalogue that is built in, and uploads."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from api.errors import FieldError, InvalidRequestError
from api.store.tables import Dataset

router = APIRouter(prefix="/v1", tags=["datasets"])


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """What a job has to know of a data set before it is submitted."""

    id: str | None  # None: built in
    name: str
    shape: tuple[int, ...]  # C H W of one sample or event frame
    timesteps: int | None  # of event data
    classes: int
    train: int | None  # samples to train on


def find_facts(session: Session, name_or_id: str) -> DatasetFacts:
    """The data set of a specification; InvalidRequestError when there is none that is ready."""
    if name_or_id == "digits":
        return DatasetFacts(
            id=None, name="digits", shape=(1, 8, 8), timesteps=None, classes=10, train=1437
        )
    row = session.scalar(
        select(Dataset).where(or_(Dataset.id == name_or_id, Dataset.name == name_or_id))
    )
    detail = f"there is no data set {name_or_id!r}; there are: digits"
    if row is None or row.summary is None:
        raise InvalidRequestError(detail, errors=[FieldError("/dataset", detail)])
    summary = row.summary
    return DatasetFacts(
        id=row.id,
        name=row.name,
        shape=tuple(summary["shape"]),
        timesteps=summary.get("timesteps"),
        classes=summary["classes"],
        train=summary.get("counts", {}).get("train"),
    )
