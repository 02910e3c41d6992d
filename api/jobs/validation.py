"""What a specification would need: the answer to `validate_only`, of which nothing is stored."""

from __future__ import annotations

from typing import Any, Literal

from api.jobs.forecast import MemoryCurve, TimeForecast, memory_curves
from api.jobs.submission import Submission
from api.web.problems.documents import ProblemField
from api.web.schemas import Document
from saf.config import json_pointer


class AutomaticSetting(Document):
    """A setting that was "auto"."""

    pointer: str
    """JSON pointer into the specification."""
    value: Any
    """What it has become."""


class Validation(Document):
    """What a specification would need; the answer to `validate_only`."""

    object: Literal["validation"] = "validation"
    specification: dict[str, Any]
    """With all defaults filled in, and numbers for what is automatic."""
    automatic: list[AutomaticSetting]
    """The settings that were "auto", and what became of them."""
    parameters: int
    """Trainable numbers of the network."""
    neurons: int
    memory_forecast_bytes: int
    largest_batch: int
    """The largest batch that fits into the limit."""
    memory_curves: list[MemoryCurve]
    """The memory forecast at other numbers of time steps and by other methods."""
    time_forecast: TimeForecast | None
    """null: no earlier run says anything about it."""
    warnings: list[ProblemField]


def validation(submission: Submission, time: TimeForecast | None) -> Validation:
    """What this submission would need, by the forecast of its `time`."""
    needed = submission.forecast
    specification = submission.specification.model_dump(mode="json")
    return Validation(
        specification=specification,
        automatic=[
            AutomaticSetting(pointer=pointer, value=json_pointer.find(specification, pointer))
            for pointer in submission.specification.automatic
        ],
        parameters=needed.parameters,
        neurons=needed.neurons,
        memory_forecast_bytes=needed.memory_bytes,
        largest_batch=needed.largest_batch,
        memory_curves=memory_curves(submission),
        time_forecast=time,
        warnings=[ProblemField(**warning._asdict()) for warning in submission.warnings],
    )
