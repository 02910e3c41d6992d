"""The form of an uploaded network: what a file does not say itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy import or_, select

from api.errors import InvalidRequestError
from api.networks.checks import SamplesFile
from api.store.blobs.verified import DamagedError
from api.store.tables.uploads import Dataset
from api.web.dependencies import ServiceDependency
from saf.config.incoming import Reading, reading_of
from saf.data import BUILTIN

MAX_FIELD_BYTES = 64 * 2**10  # a list of layers
_OF_READING = {
    name: {
        "type": "string",
        "description": " ".join((field.description or "").split())
        + (" As JSON." if name == "network" else ""),
    }
    for name, field in Reading.model_fields.items()
}
FIELDS: Mapping[str, Mapping[str, Any]] = {
    "name": {"type": "string", "description": "By default the file's name"},
    **_OF_READING,
    "dataset": {
        "type": "string",
        "description": "Weights: the data set, by name or id, whose training samples the "
        "thresholds are balanced with.",
    },
}
FORM = {
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
                            "description": "A lif.safetensors, an NIR file, or weights of a ReLU "
                            "network as safetensors",
                        },
                        **FIELDS,
                    },
                }
            }
        },
    }
}


def reading_in(fields: Mapping[str, str]) -> Reading:
    """What the form says of the file. Raises RequestValidationError and InvalidRequestError."""
    try:
        return reading_of({name: fields[name] for name in _OF_READING if name in fields})
    except ValidationError as error:
        raise RequestValidationError(
            [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
        ) from error
    except ValueError as error:
        raise InvalidRequestError.at("/network", str(error)) from error


def samples_of(service: ServiceDependency, name: str) -> SamplesFile | None:
    """The data set that a form names, on this machine; None where it names none. Raises
    InvalidRequestError where there is none that is ready."""
    name = name.strip()
    if not name or name in BUILTIN:
        return SamplesFile(name, name) if name else None
    with service.database.reading() as session:
        row = session.scalar(select(Dataset).where(or_(Dataset.id == name, Dataset.name == name)))
        found = None if row is None else (row.name, row.status, row.sha256)
    if found is None:
        raise InvalidRequestError.at(
            "/dataset", f"there is no data set {name[:100]!r}; GET /v1/datasets lists them"
        )
    called, status, sha256 = found
    if status != "ready" or sha256 is None:
        raise InvalidRequestError.at("/dataset", f"the data set {called} is {status}, not ready")
    try:
        return SamplesFile(called, str(service.store.local(sha256)))
    except (FileNotFoundError, DamagedError) as error:
        raise InvalidRequestError.at(
            "/dataset", f"the file of the data set {called} is gone or damaged; upload it again"
        ) from error
