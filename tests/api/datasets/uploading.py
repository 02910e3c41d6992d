"""Small data sets, sent to a server or put into its database."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from api.datasets.checks import Checks
from api.store.tables.uploads import Dataset
from tests.api.conftest import Server


def npz(*shape: int, labels: int = 2) -> bytes:
    """An .npz whose samples have the shape; 8 to train, 4 to test."""
    values = np.random.default_rng(0)
    buffer = io.BytesIO()
    splits = {"train": 8, "test": 4}
    arrays: dict[str, Any] = {
        f"x_{split}": values.integers(0, 255, (n, *shape), np.uint8) for split, n in splits.items()
    }
    arrays |= {f"y_{split}": np.arange(n) % labels for split, n in splits.items()}
    np.savez(buffer, **arrays)
    return buffer.getvalue()


IMAGES = npz(3, 9, 10)


def upload(server: Server, content: bytes = IMAGES, file: str = "mine.npz", **fields: str) -> Any:
    return server.http.post("/v1/datasets", files={"file": (file, content)}, data=fields)


def leftovers(server: Server) -> list[Path]:
    return list(server.service.part(Checks).directory.glob("*"))


def row(server: Server, **values: Any) -> None:
    """Put a data set into the database without uploading it."""
    facts = {
        "shape": [1, 8, 8],
        "timesteps": None,
        "classes": 3,
        "class_names": ["a", "b", "c"],
        "counts": {"train": 30, "test": 9, "per_class": {}},
        "dtype": "uint8",
        "mean": [0.5],
        "std": [0.25],
    }
    with server.service.database.writing() as session:
        session.add(
            Dataset(
                **{
                    "format": "auto",
                    "status": "ready",
                    "problems": [],
                    "summary": facts | values.pop("summary", {}),
                    "upload_bytes": 100,
                    "created_at": 1.0,
                    **values,
                }
            )
        )
