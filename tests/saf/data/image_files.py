"""Image files in folders of splits, and what a reader decided and asked about them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saf.data import Dataset
from saf.data.formats.format import NeedsChoiceError


def encoded(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        buffer, kind, **options
    )
    return buffer.getvalue()


def cornered(height: int, width: int, number: int = 0) -> np.ndarray:
    """Colour on gray, bright in the corner at the top left."""
    pixels = np.full((height, width, 3), 40, np.uint8)
    pixels[: height // 4, : width // 4] = 250
    pixels[height // 4 : -height // 4, width // 4 : -width // 4] = (100 + number, 150, 30)
    return pixels


def folders(blobs: list[bytes], suffix: str = "png") -> dict[str, bytes]:
    """The images in train/a, train/b and all of them again in the test folders."""
    return {
        f"{split}/{'ab'[number % 2]}/{number:02}.{suffix}": blob
        for split in ("train", "test")
        for number, blob in enumerate(blobs)
    }


def decided(data: Dataset) -> dict[str, str]:
    return {decision.setting or decision.value: decision.value for decision in data.decisions}


def question(caught: pytest.ExceptionInfo[NeedsChoiceError]) -> dict[str, Any]:
    """Candidates by their value; each has a picture that shows something."""
    (asked,) = caught.value.questions
    for candidate in asked.candidates:
        assert candidate.picture is not None
        shown = np.asarray(Image.open(io.BytesIO(candidate.picture)).convert("L"))
        assert shown.min() < shown.max()
        assert f"{asked.setting} = {candidate.value!r}" in caught.value.hint
    return {candidate.value: candidate for candidate in asked.candidates}
