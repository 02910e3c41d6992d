"""The documents of a comparison."""

from __future__ import annotations

from typing import Any, Literal

from api.jobs.schemas import Health, JobFinding, Verdict
from api.store.tables.jobs import Status
from api.web.schemas import Document


class ComparedJob(Document):
    """A column of the comparison."""

    id: str
    name: str
    status: Status
    verdict: Verdict | None
    """Of its certificate; null until it has succeeded."""
    health: Health | None
    """`warning`: it succeeded, and has findings."""
    findings: list[JobFinding]
    url: str


class ComparedSetting(Document):
    """A value of the specification in each of the jobs."""

    pointer: str
    """JSON pointer into the specification."""
    values: list[Any]
    """In the order of the jobs; null where a job has no such setting."""
    differs: bool


class ComparedResult(Document):
    """A number that came out of each of the jobs."""

    name: str
    title: str
    """What it is, for people."""
    unit: Literal["share", "seconds", "bytes", "number"]
    better: Literal["higher", "lower", "neither"]
    values: list[float | None]
    best: list[str]
    """Ids of the jobs with the best value; empty where all are alike or nothing is better, as of
    accuracies on several data sets. A failed job is not among them."""


class Comparison(Document):
    """Jobs side by side."""

    object: Literal["comparison"] = "comparison"
    jobs: list[ComparedJob]
    missing: list[str]
    """Ids that were asked for and are no job's (any more)."""
    settings: list[ComparedSetting]
    results: list[ComparedResult]
