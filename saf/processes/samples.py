"""What a question to a network shows it: an image, series, or a sample of the evaluation split."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from saf.data import BUILTIN, Dataset, Limits, load
from saf.data.images.decode import decode_image
from saf.data.images.decode import fitted as scaled
from saf.errors import DataError

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork

DATASETS_KEPT = 2
MOST_BYTES = 2**20  # of an image that is told as it is
LARGEST_IMAGE = Limits(max_image_side=4096)
Floats = NDArray[Any]


class Shown(NamedTuple):
    """A sample, and what is known of it."""

    x: Floats  # C H W, T C H W, or T C of series, float32
    label: int | None  # the right class, where it is known
    scaled_from: tuple[int, int] | None  # width and height before it was fitted
    steps: int | None = None  # that are its own, where it is padded


def shown(network: LIFNetwork, question: dict[str, Any]) -> Shown:
    """The sample of `question`, as `network` takes it. Raises DataError, ValueError, OSError."""
    of = network.description
    shape = of.sample_shape if of.image is None else of.image.shape
    if (sample := question.get("sample")) is not None:
        dataset, index = _found(sample)
        x = np.asarray(dataset.x_test[index])
        is_scaled = x.dtype == np.uint8 and dataset.unit != 1
        as_floats = x.astype(np.float32) / dataset.unit if is_scaled else x.astype(np.float32)
        own = None if dataset.lengths_test is None else int(dataset.lengths_test[index])
        return Shown(as_floats, int(dataset.y_test[index]), None, own)
    is_image = of.image is not None or not of.frames
    is_series = not is_image and tuple(shape[1:]) == (1, 1)
    if "series" in question or "file" in question:
        if not is_series:
            raise DataError(
                "the network takes no series",
                hint="send an image, or a sample of the evaluation split",
            )
        x = _series(question, network.timesteps, shape[0])
        padded = np.zeros((network.timesteps, *x.shape[1:]), x.dtype)
        padded[: len(x)] = x
        return Shown(padded, None, None, len(x))
    if is_series:
        raise DataError(
            "the network takes series and no image",
            hint=f"send a CSV of {network.timesteps} rows, one for each time step, and {shape[0]} "
            'columns, or a sample of the evaluation split: {"sample": 0}',
        )
    if not is_image:
        raise DataError(
            "the network takes event frames and no image",
            hint='choose a sample of the evaluation split: {"sample": 0}',
        )
    if (pixels := question.get("pixels")) is not None:
        hint = f"give nested lists of shape {list(shape)}, values from 0 to 1"
        try:
            x = np.array(pixels, np.float32)
        except (TypeError, ValueError, OverflowError, RecursionError):
            raise DataError("the pixels are no nested lists of numbers", hint=hint) from None
        if x.shape != shape:
            raise DataError(f"the pixels have the shape {list(x.shape)}", hint=hint)
        return Shown(x, None, None)
    image = decode_image("the image", base64.b64decode(question["image"]), LARGEST_IMAGE)
    return fitted(image, shape)


def _found(sample: dict[str, Any]) -> tuple[Dataset, int]:
    """The data set of a sample of the evaluation split, and its number there. Raises DataError."""
    dataset, index = _dataset(sample["dataset"], sample["builtin"]), sample["index"]
    if not 0 <= index < len(dataset.x_test):
        raise DataError(
            f"there is no sample {index}",
            hint=f"the evaluation split has the samples 0 to {len(dataset.x_test) - 1}",
        )
    return dataset, index


def bytes_of(sample: dict[str, Any]) -> dict[str, Any]:
    """An image `C H W` of the evaluation split as it is in the data, as JSON values. Raises
    DataError."""
    dataset, index = _found(sample)
    x = np.asarray(dataset.x_test[index])
    if x.dtype != np.uint8 or x.ndim != 3 or x.size > MOST_BYTES:
        raise DataError(
            f"the samples are no images of at most {MOST_BYTES} bytes",
            hint="run the network on the server: POST /v1/jobs/{id}/predict",
        )
    pixels = base64.b64encode(x.tobytes()).decode()
    return {"label": int(dataset.y_test[index]), "shape": [*x.shape], "pixels": pixels}


def _series(question: dict[str, Any], steps: int, channels: int) -> Floats:
    """The series `T C` of a question, for a network of T `steps`; fewer, where its samples are of
    different lengths (`lengths`). Raises DataError."""
    shorter = bool(question.get("lengths"))
    wanted = f"{steps} rows{' at most' * shorter}, one for each time step, of {channels} "
    wanted += f"value{'s' * (channels > 1)}"
    hint = f"give {wanted}: numbers as they are in the training data"
    try:
        if "series" in question:
            x = np.array(question["series"], np.float32)
        else:
            content = base64.b64decode(question["file"], validate=True)
            x = _table(content)
    except (TypeError, ValueError, OverflowError, RecursionError, EOFError):
        raise DataError("the series are no rows of numbers of one length", hint=hint) from None
    if x.ndim == 1 and channels == 1:
        x = x[:, None]
    if x.ndim == 3 and len(x) == 1:
        x = x[0]
    fits = x.shape == (steps, channels)
    if not fits and not (shorter and x.shape[1:] == (channels,) and 1 <= len(x) < steps):
        if x.shape == (channels, steps):
            hint = f"turn rows and columns round: {hint}"
        found = " × ".join(map(str, x.shape))
        raise DataError(f"the series have {found} values, not {steps} × {channels}", hint=hint)
    if not np.isfinite(x).all():
        raise DataError("the series hold NaN or infinite values", hint=hint)
    return x


def _table(content: bytes) -> Floats:
    """Numbers of a .npy, or of a CSV whose first line may be names. Raises ValueError."""
    if content.startswith(b"\x93NUMPY"):
        x = np.load(io.BytesIO(content), allow_pickle=False)
        if x.dtype.kind not in "biuf":
            raise ValueError("no numbers")
        return np.asarray(x, np.float32)
    lines = [line for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    if not lines:
        raise ValueError("no lines")
    separator = max(",;\t ", key=lines[-1].count)
    rows = [[part.strip() for part in line.strip().split(separator)] for line in lines]
    if not all(map(_is_number, rows[0])):
        del rows[0]  # names of the columns
    return np.array(rows, np.float32)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def fitted(pixels: NDArray[np.uint8], shape: tuple[int, ...]) -> Shown:
    """An image `C H W` as the network's samples are: gray or RGB as they, cut to their
    proportions around the middle and scaled to their size, bytes / 255. Raises DataError."""
    channels, height, width = shape if len(shape) == 3 else (0, 0, 0)
    if channels not in (1, 3):
        raise DataError(
            f"the network takes samples of shape {list(shape)}, which is no image",
            hint='choose a sample of the evaluation split: {"sample": 0}',
        )
    before = pixels.shape[2], pixels.shape[1]
    if len(pixels) != channels or before != (width, height):
        image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
        image = image.convert("L" if channels == 1 else "RGB")
        image = scaled(image, (width, height))  # as training data are
        pixels = np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)
    x = pixels.astype(np.float32) / 255
    return Shown(x, None, before if before != (width, height) else None)


@lru_cache(DATASETS_KEPT)
def _dataset(name: str, builtin: bool) -> Dataset:
    if not builtin:
        return load(Path(name))
    if name not in BUILTIN:
        raise DataError(f"there is no data set {name!r} built in", hint="show an image instead")
    make: Callable[[], Dataset] = BUILTIN[name]
    return make()
