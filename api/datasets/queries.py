"""What is known of data sets, built in or uploaded: as they are sent, and what a job needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from api.datasets.previews import builtin_summary
from api.datasets.schemas import (
    DatasetCandidate,
    DatasetDecision,
    DatasetDocument,
    DatasetFinding,
    DatasetProblem,
    DatasetQuestion,
    DatasetUrls,
    Kind,
    SkippedFiles,
)
from api.errors import ConflictError, FieldError, InvalidRequestError, NotFoundError
from api.store import pagesize
from api.store.remarks import marked
from api.store.soundness import readable
from api.store.tables.base import Blob
from api.store.tables.jobs import Job
from api.store.tables.uploads import Dataset
from api.web.asgi import prefix
from api.web.caller import Belonging, Names, conditions
from api.web.remarks import ANY, Marks
from api.web.schemas import iso, without_nan
from saf.data import CATALOGUE


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """What a job has to know of a data set before it is submitted."""

    id: str | None  # None: built in
    name: str
    shape: tuple[int, ...]  # C H W of one sample or event frame
    timesteps: int | None  # of event data
    kind: Kind
    is_bounded: bool  # no sample can hold a value outside [0, 1], see saf.data.dataset
    classes: int
    train: int  # samples to train on
    val: int  # samples of a validation split of its own, 0: none


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
            kind="images" if entry.timesteps is None else "events",
            is_bounded=entry.timesteps is None,
            classes=entry.classes,
            train=entry.train,
            val=entry.val,
        )
    row = _find(session, name_or_id)
    if row is not None:
        row = readable(row)[0]
    if row is None:
        names = ready_names(session, most=20)
        detail = f"there is no data set {name_or_id!r}; there are {', '.join(names)}"
        raise InvalidRequestError(detail, errors=[FieldError("/dataset", detail)])
    if row.status == "checking":
        detail = f"the data set {row.name} is still being checked; try again in a moment"
        raise ConflictError(detail, errors=[FieldError("/dataset", detail)])
    if row.status == "needs_choice":
        detail = unanswered(row)
        raise ConflictError(detail, errors=[FieldError("/dataset", detail)])
    if row.status != "ready" or row.summary is None:
        detail = f"the data set {row.name} cannot be used: {_reasons(row)}"
        raise InvalidRequestError(detail, errors=[FieldError("/dataset", detail)])
    if _damaged(session, [row]):
        detail = (
            f"the file of the data set {row.name} is damaged in the artifact store; upload the "
            "original files again, under any name: the same data take its place (or put the file "
            "back from a backup and run `saf scrub`)"
        )
        raise ConflictError(detail, errors=[FieldError("/dataset", detail)])
    return DatasetFacts(
        id=row.id,
        name=row.name,
        shape=tuple(row.summary["shape"]),
        timesteps=row.summary["timesteps"],
        kind=_kind(row.summary),
        is_bounded=row.summary["timesteps"] is None
        or (row.summary["dtype"] == "uint8" and row.summary.get("unit", 255) == 255),
        classes=row.summary["classes"],
        train=row.summary["counts"]["train"],
        val=row.summary["counts"].get("val", 0),
    )


def find_datasets(
    session: Session,
    *,
    limit: int,
    after: str = "",
    of: Belonging | None = None,
    marks: Marks = ANY,
) -> tuple[list[DatasetDocument], bool]:
    """The built-in data sets, then up to `limit` uploads, fewer where they have very many classes,
    newest first; and whether there are more."""
    is_first = not after.startswith("ds_")
    where = (*conditions(Dataset, of), *marked(Dataset, marks.tags, marks.favourite))
    builtin: Sequence[str] = tuple(CATALOGUE) if is_first and not where else ()
    shown, has_more = pagesize.newest(
        session,
        Dataset.id,
        Dataset.summary,
        limit=limit,
        after="" if is_first else after,
        where=where,
    )
    these = select(Dataset).where(Dataset.id.in_(shown)).order_by(Dataset.id.desc())
    rows = session.scalars(these).all()
    uses = _uses(session, [*builtin, *shown])
    documents = [_builtin_document(name, uses.get(name, 0)) for name in builtin]
    damaged = _damaged(session, rows)
    names = Names(session, ((row.owner_id, row.project_id) for row in rows))
    documents += [_document(row, uses.get(row.id, 0), row.sha256 in damaged, names) for row in rows]
    return documents, has_more


def ready_names(session: Session, *, most: int) -> list[str]:
    """Names of data sets to train on: those that are built in, then uploads, newest first."""
    ready = select(Dataset.name).where(Dataset.status == "ready").order_by(Dataset.id.desc())
    return [*CATALOGUE, *session.scalars(ready.limit(most))]


def read_dataset(session: Session, name_or_id: str) -> DatasetDocument:
    """The data set of that id or name, or NotFoundError."""
    if name_or_id in CATALOGUE:
        return _builtin_document(name_or_id, _uses(session, [name_or_id]).get(name_or_id, 0))
    return document(session, existing(session, name_or_id))


def document(session: Session, row: Dataset) -> DatasetDocument:
    """An upload as it is sent."""
    damaged = bool(_damaged(session, [row]))
    names = Names(session, [(row.owner_id, row.project_id)])
    return _document(row, _uses(session, [row.id]).get(row.id, 0), damaged, names)


def existing(session: Session, name_or_id: str) -> Dataset:
    """The row of an upload by its id or name, or NotFoundError."""
    row = _find(session, name_or_id)
    if row is None:
        raise NotFoundError(f"there is no data set {name_or_id}")
    return row


def unanswered(row: Any) -> str:
    """What is to be answered before an upload can be used, and where."""
    asked = row.questions or []
    asks = " ".join(str(question["asks"]) for question in asked)
    body = ", ".join(f'"{question["setting"]}": "…"' for question in asked)
    return (
        f"the data set {row.name} can be read in more than one way. {asks} Choose on its page, "
        f"{prefix.at(f'/datasets/{row.id}')}, or send {{{body}}} to "
        f"{prefix.at(f'/v1/datasets/{row.id}/choices')}"
    )


def sentence(problem: DatasetProblem) -> str:
    """What is wrong and what to change."""
    return f"{problem.message}. {problem.hint}".strip()


def _find(session: Session, name_or_id: str) -> Dataset | None:
    return session.scalar(
        select(Dataset).where(or_(Dataset.id == name_or_id, Dataset.name == name_or_id))
    )


def _damaged(session: Session, rows: Sequence[Dataset]) -> set[str | None]:
    """The hashes of those of their files that are damaged."""
    hashes = [row.sha256 for row in rows if row.sha256 is not None]
    query = select(Blob.sha256).where(Blob.sha256.in_(hashes), Blob.damaged_at.is_not(None))
    return set(session.scalars(query))


def _kind(summary: Mapping[str, Any]) -> Kind:
    """What the samples are; data sets of before there were series do not say so."""
    kind: Kind = summary.get("kind", "images" if summary["timesteps"] is None else "events")
    return kind


def _reasons(row: Dataset) -> str:
    return "; ".join(sentence(DatasetProblem.model_validate(entry)) for entry in row.problems)


def _uses(session: Session, ids: Sequence[str]) -> Mapping[str, int]:
    """How many jobs name each data set; a built-in one is its name and no id."""
    uploads = [id_ for id_ in ids if id_ not in CATALOGUE]
    found = session.execute(
        select(Job.dataset_id, func.count())
        .where(Job.dataset_id.in_(uploads))
        .group_by(Job.dataset_id)
    )
    uses = {str(id_): count for id_, count in found}
    builtin = session.execute(
        select(Job.dataset, func.count())
        .where(Job.dataset_id.is_(None), Job.dataset.in_([*CATALOGUE]))
        .group_by(Job.dataset)
    )
    return uses | {str(name): count for name, count in builtin}


def _builtin_document(name: str, jobs: int) -> DatasetDocument:
    entry = CATALOGUE[name]
    summary = builtin_summary(name)
    return DatasetDocument(
        id=name,
        name=name,
        title=entry.title,
        builtin=True,
        status="ready",
        problems=[],
        questions=[],
        settings={},
        format="builtin",
        kind=_kind(summary),
        shape=list(entry.shape),
        timesteps=entry.timesteps,
        classes=entry.classes,
        class_names=list(entry.class_names),
        counts=summary["counts"],
        statistics={"mean": summary["mean"], "std": summary["std"]},
        findings=_findings(summary),
        decisions=_decisions(summary),
        bytes=None,
        created_at=None,
        jobs=jobs,
        urls=_urls(name),
    )


def _document(dataset: Dataset, jobs: int, damaged: bool, names: Names) -> DatasetDocument:
    row, why = readable(dataset)
    owner, project = names.of(dataset.owner_id, dataset.project_id)
    if why:
        hint = "`saf scrub` names such rows; upload the data set again, and delete this one."
        row.status, row.summary = "invalid", None
        row.problems = [*row.problems, {"message": why, "hint": hint}]
    summary: dict[str, Any] = without_nan(row.summary) if row.summary else {}
    statistics = {"mean": summary["mean"], "std": summary["std"]} if summary else None
    return DatasetDocument(
        id=row.id,
        name=row.name,
        title=row.name,
        builtin=False,
        status=row.status,
        problems=_problems(row.problems),
        questions=_questions(row),
        settings={k: v for k, v in (row.settings or {}).items() if k != "format"},
        format=row.format,
        kind=_kind(summary) if summary else None,
        shape=summary.get("shape"),
        timesteps=summary.get("timesteps"),
        lengths=summary.get("lengths"),
        classes=summary.get("classes"),
        class_names=summary.get("class_names"),
        counts=_counts(summary) if summary else None,
        statistics=statistics,
        findings=_findings(summary),
        decisions=_decisions(summary),
        skipped=SkippedFiles(**summary["skipped"]) if "skipped" in summary else None,
        bytes=row.upload_bytes,
        sha256=row.sha256,
        damaged=damaged,
        created_at=iso(row.created_at),
        jobs=jobs,
        notes=row.notes or "",
        tags=row.tags or [],
        favourite=row.favourite_at is not None,
        owner=owner,
        project=project,
        urls=_urls(row.id),
    )


def _counts(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Samples of each split, of summaries from before there were validation splits, too."""
    counts: dict[str, Any] = summary["counts"]
    classes = {"val": [0] * summary["classes"]} | counts["per_class"]
    return {"val": 0} | counts | {"per_class": classes}


def _findings(summary: Mapping[str, Any]) -> list[DatasetFinding] | None:
    found = summary.get("findings")
    return None if found is None else [DatasetFinding.model_validate(entry) for entry in found]


def _decisions(summary: Mapping[str, Any]) -> list[DatasetDecision] | None:
    found = summary.get("decisions")
    return None if found is None else [DatasetDecision.model_validate(entry) for entry in found]


def _questions(row: Any) -> list[DatasetQuestion]:
    if row.status != "needs_choice":
        return []
    pictures = prefix.at(f"/v1/datasets/{row.id}/candidates")
    # Questions of another check are other pictures.
    version = int(1000 * (row.checked_at or 0))
    return [
        DatasetQuestion(
            setting=question["setting"],
            asks=question["asks"],
            candidates=[
                DatasetCandidate(
                    value=candidate["value"],
                    means=candidate["means"],
                    picture=f"{pictures}/{number}-{place}.png?v={version}"
                    if candidate.get("picture")
                    else None,
                )
                for place, candidate in enumerate(question["candidates"])
            ],
        )
        for number, question in enumerate(row.questions or [])
    ]


def _urls(id_: str) -> DatasetUrls:
    here = prefix.at(f"/v1/datasets/{id_}")
    return DatasetUrls(
        self=here,
        page=prefix.at(f"/datasets/{id_}"),
        preview=f"{here}/preview",
        choices=None if id_ in CATALOGUE else f"{here}/choices",
    )


def _problems(entries: Sequence[Any]) -> list[DatasetProblem]:
    return [DatasetProblem.model_validate(entry) for entry in entries]
