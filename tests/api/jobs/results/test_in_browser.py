"""What the page computes where it predicts in the browser is what the server computes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saf.processes.samples import fitted
from saf.processes.steps import _some
from tests.javascript import call_each

SIZES = [(8, 8), (28, 28), (7, 5), (28, 40), (224, 224), (50, 20), (9, 31), (6, 100)]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_scaled_to_the_same_bytes(channels: int) -> None:
    random = np.random.default_rng(0)
    pixels = [random.integers(0, 256, (channels, h, w), np.uint8) for w, h in SIZES]
    shapes = [(8, 8), (28, 28), (10, 6)]
    calls: list[tuple[str, *tuple[Any, ...]]] = [
        ("fitted", picture(image), width, height) for image in pixels for height, width in shapes
    ]
    found = iter(call_each("jobs/pixels.js", calls))
    for image in pixels:
        for shape in shapes:
            there = np.rint(fitted(image, (channels, *shape)).x * 255).astype(int)
            assert next(found) == there.ravel().tolist(), (image.shape, shape)


def picture(pixels: np.ndarray[Any, Any]) -> dict[str, Any]:
    planes = [plane.ravel().tolist() for plane in pixels]
    return {"width": pixels.shape[2], "height": pixels.shape[1], "planes": planes}


def test_colours_become_the_same_gray() -> None:
    colours = np.random.default_rng(1).integers(0, 256, (1, 500, 3), np.uint8)
    gray = np.asarray(Image.fromarray(colours).convert("L"))
    data = np.concatenate([colours, np.full((1, 500, 1), 255)], axis=2).ravel().tolist()
    image = {"width": 500, "height": 1, "data": data}
    (found,) = call_each("jobs/pixels.js", [("picture", image, 1)])
    assert list(found["planes"][0].values()) == gray.ravel().tolist()


def test_the_same_neurons_are_shown() -> None:
    asked = [(1, 1), (2, 2), (96, 96), (256, 128), (1000, 128), (12_544, 128)]
    calls: list[tuple[str, *tuple[Any, ...]]] = [("some", *each) for each in asked]
    for each, found in zip(asked, call_each("jobs/answer.js", calls), strict=True):
        assert found == _some(*each).tolist()


def test_scores_have_the_same_four_places() -> None:
    random = np.random.default_rng(2)
    values = np.concatenate(
        [random.integers(-(2**20), 2**20, 2000) / 2**k for k in (3, 5, 9, 14)]
        + [random.normal(size=2000)]
    ).astype(np.float32)
    calls: list[tuple[str, *tuple[Any, ...]]] = [("rounded", float(value)) for value in values]
    assert call_each("jobs/answer.js", calls) == [round(float(value), 4) for value in values]


def test_only_plain_images_are_decoded_there() -> None:
    image = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "plain": (written(image), True),
        "gray": (written(image.convert("L")), True),
        "JPEG": (written(image, "JPEG"), False),
        "transparent": (written(image.convert("RGBA")), False),
        "palette": (written(image.convert("P")), False),
        "turned": (written(image, exif=exif), False),
        "deep": (written(Image.fromarray(np.zeros((4, 4), np.uint16))), False),
        "cut short": (written(image)[:20], False),
    }
    asked: list[tuple[str, *tuple[Any, ...]]] = [
        ("isPlain", list(content)) for content, _ in files.values()
    ]
    found = call_each("jobs/pixels.js", asked)
    assert dict(zip(files, found, strict=True)) == {
        name: plain for name, (_, plain) in files.items()
    }


def written(image: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()
