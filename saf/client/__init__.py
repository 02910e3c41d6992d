"""A Python client of the service.

    from saf.client import Client
    client = Client("http://127.0.0.1:8000")
    job = client.submit({"dataset": "digits"})
    job.wait()

What is named here is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from saf import extras

if TYPE_CHECKING:
    from saf.client.client import Client
    from saf.client.job import Job
    from saf.client.types import (
        ApiError,
        ChecksumError,
        ClientError,
        UnreachableError,
        WaitTimeoutError,
    )

__all__ = [
    "ApiError",
    "ChecksumError",
    "Client",
    "ClientError",
    "Job",
    "UnreachableError",
    "WaitTimeoutError",
]


if not TYPE_CHECKING:  # a type checker then knows the names above and no others

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'saf.client' has no attribute {name!r}")
        homes = {"Client": "saf.client.client", "Job": "saf.client.job"}
        try:
            return getattr(import_module(homes.get(name, "saf.client.types")), name)
        except ModuleNotFoundError as error:
            if not extras.is_missing("client", error):
                raise
            raise ImportError(f"saf.client needs more: {extras.remedy('client')}") from error


def __dir__() -> list[str]:
    return sorted(__all__)
