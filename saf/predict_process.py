"""The process that predicts with LIF networks: `python -m saf.predict_process SOCKET`.

Over the socket (a file descriptor) come questions, one line of JSON each. `network` is the path of
a `lif.safetensors`; or `checkpoint` is that of a checkpoint, and `summary` what `Dataset.summary()`
says of its training data, as JSON in a string. One of `image` (a PNG or JPEG in base64), `pixels`
(`C H W` in [0, 1]), `series` (`T C`), `file` (series as a CSV or .npy, in base64) or `sample`
(`{"dataset": name or path, "builtin": bool, "index": i}`, of the evaluation split) is shown to it.
`bytes_of`, which is such a sample, is alone in its question: the answer has its bytes.
An answer is one line as well: `{"ok": true, …}` as `run` or `bytes_of` has it, or `{"ok": false,
"message": "…", "hint": "…"}`. The first line says whether networks can run here.

Shapes: `T` steps, `C H W` channels, height, width, `K` classes.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import resource
import socket
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from saf.data import BUILTIN, Dataset, Limits, load
from saf.data.curves import HEIGHT, WIDTH, series_pixels
from saf.data.images.decode import decode_image
from saf.data.images.decode import fitted as scaled
from saf.data.preview import brightest, frame_pixels
from saf.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from saf.lif.network import LIFNetwork

NETWORKS_KEPT = 2
SHOWN_NEURONS = 128  # of a layer …
GOLDEN = 0.618
SHOWN_NUMBERS = 12_000  # … and neurons × steps of it, at most
MOST_PIXELS = 2**20  # of all frames of a sample
MOST_BYTES = 2**20  # of an image that is told as it is
MOST_SCORES = 2**20  # classes × steps that an answer holds
LONGEST_REASON, LONGEST_ANSWER = 500, 15 * 2**20  # characters
NO_MEMORY = ("allocate memory", "out of memory", "bad_alloc")  # as torch says it
LARGEST_IMAGE = Limits(max_image_side=4096)
Floats = NDArray[Any]


class Shown(NamedTuple):
    """A sample, and what is known of it."""

    x: Floats  # C H W, T C H W, or T C of series, float32
    label: int | None  # the right class, where it is known
    scaled_from: tuple[int, int] | None  # width and height before it was fitted
    steps: int | None = None  # that are its own, where it is padded


def main() -> int:
    """Answer until the socket ends; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m saf.predict_process", description="Try a network."
    )
    parser.add_argument("socket", type=int)
    parser.add_argument("--max-memory-bytes", type=int, required=True)
    options = parser.parse_args()
    bounds = (options.max_memory_bytes, options.max_memory_bytes)
    resource.setrlimit(resource.RLIMIT_DATA, bounds)
    with socket.socket(fileno=options.socket) as line, line.makefile("rwb") as stream:
        try:
            import torch

            import saf.lif.network  # noqa: F401  (the first question is answered as fast as the next)
        except ImportError as error:
            _say(stream, {"ok": False, "message": f"PyTorch is missing: {error}", "hint": ""})
            return 1
        torch.set_num_threads(1)  # trainings have the machine first
        _say(stream, {"ok": True})
        for question in stream:
            _say(stream, answer(json.loads(question)))
    return 0


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Answer to a question, JSON values alone; never raises."""
    try:
        if "bytes_of" in question:
            return {"ok": True, **bytes_of(question["bytes_of"])}
        network = _network(question)
        found = run(network, shown(network, question), bool(question.get("detail")))
        if len(json.dumps(found, allow_nan=False)) > LONGEST_ANSWER:
            raise DataError(
                f"the answer has more than {LONGEST_ANSWER} characters",
                hint="Download lif.safetensors and run it with `saf run`.",
            )
        return {"ok": True, **found}
    except DataError as error:
        return _refused(str(error), error.hint)
    except (ValueError, OSError) as error:
        return _refused(_first_line(error))
    except Exception as error:
        if isinstance(error, MemoryError) or any(sign in str(error) for sign in NO_MEMORY):
            return _refused(
                f"the network could not be run within its memory: {_first_line(error)}",
                "download lif.safetensors and run it where there is more",
            )
        traceback.print_exc()  # to the log of the service
        return _refused(f"the network cannot be run: {_first_line(error)}")


def _refused(message: str, hint: str = "") -> dict[str, Any]:
    return {"ok": False, "message": message, "hint": hint}


def _first_line(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return said[0][:LONGEST_REASON] if said else type(error).__name__


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


def run(network: LIFNetwork, what: Shown, detail: bool) -> dict[str, Any]:
    """The steps of `network` on one sample, as JSON values.

    `scores` (T × K) are those after each step, `layers` hold the spikes of each step; of a padded
    sample they end where it does. With
    `detail` also `shown`, indices of some neurons, the same ones always, the positions of those
    among them that fire at each step (`raster`), and u / V of them before the reset (`membrane`).
    """
    import torch

    description = network.description
    if len(description.class_names) * description.timesteps > MOST_SCORES:
        raise DataError(
            f"the scores of {len(description.class_names)} classes at {description.timesteps} "
            f"steps are more than the {MOST_SCORES} that an answer holds",
            hint="Download lif.safetensors and run it with `saf run`.",
        )
    neurons = {
        layer.name: shape
        for layer in description.architecture.spiking
        for shape in [description.architecture.shapes()[layer.name]]
    }
    thresholds = {layer.name: layer.neuron.threshold for layer in network.layers if layer.neuron}
    layers: dict[str, dict[str, Any]] = {}
    chosen = {}
    for name, shape in neurons.items():
        count = int(np.prod(shape))
        most = max(1, min(count, SHOWN_NEURONS, SHOWN_NUMBERS // description.timesteps))
        chosen[name] = _some(count, most)
        layers[name] = {"name": name, "shape": list(shape), "neurons": count, "spikes": []}
        if detail:
            more = {"shown": chosen[name].tolist(), "raster": [], "membrane": []}
            layers[name] |= more
    scores: list[list[float]] = []
    timesteps = what.steps or description.timesteps
    for step in islice(network.run(torch.from_numpy(what.x)[None]), timesteps):
        scores.append(_rounded(step.scores[0]))
        for name, layer in layers.items():
            spikes = step.spikes[name].reshape(-1)
            layer["spikes"].append(int(spikes.sum()))
            if detail:
                layer["raster"].append(spikes[chosen[name]].nonzero().flatten().tolist())
                u = step.potentials[name].reshape(-1)[chosen[name]] / thresholds[name]
                layer["membrane"].append(_rounded(u))
    return {
        "timesteps": timesteps,
        "class_names": list(description.class_names),
        "scores": scores,
        "predictions": [int(np.argmax(of_step)) for of_step in scores],
        "predicted": int(np.argmax(scores[-1])),
        "label": what.label,
        "image": _picture(what),
        "frames": _strip(what.x) if what.x.ndim == 4 else None,
        "frame_size": [HEIGHT, WIDTH] if what.x.ndim == 2 else list(what.x.shape[-2:]),
        "scaled_from": what.scaled_from,
        "layers": list(layers.values()),
    }


def _some(count: int, most: int) -> Tensor:
    """`most` of `count` indices in order, the same ones always, here and in the browser
    (static/jobs/answer.js): steps of the golden section, as at even distances they would all lie
    in one column of an image."""
    import torch

    step = int(GOLDEN * count)
    while gcd(step, count) != 1:
        step += 1
    return torch.tensor(sorted(number * step % count for number in range(most)))


def _picture(what: Shown) -> str:
    """The sample as a PNG in a data URL; of frames and other channels their mean, of series their
    curves until their end."""
    x = what.x
    if x.ndim == 2:
        own = x[: what.steps]
        return _as_url(series_pixels(own, own.min(axis=0), own.max(axis=0), len(x)))
    image = x.mean(0) if x.ndim == 4 else x
    if len(image) not in (1, 3):
        image = image.mean(0, keepdims=True)
    image = image / max(1.0, float(image.max()))
    pixels = (255 * image).round().astype(np.uint8)
    return _as_url(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


def _strip(frames: Floats) -> str | None:
    """Event frames `T C H W` from left to right, coloured as in previews; None of too many."""
    if frames[:, 0].size > MOST_PIXELS:
        return None
    scale = brightest(frames)
    return _as_url(np.concatenate([frame_pixels(each, 1, scale) for each in frames], axis=1))


def _as_url(pixels: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _rounded(values: Any) -> list[float]:
    if not values.isfinite().all():
        raise DataError(
            "scores or potentials of the network are no finite numbers",
            hint="Its weights are too large for their type; train it again.",
        )
    return [round(value, 4) for value in values.tolist()]


def _network(question: dict[str, Any]) -> LIFNetwork:
    if "network" in question:
        return _finished(question["network"])
    return _unfinished(question["checkpoint"], question["summary"])


@lru_cache(NETWORKS_KEPT)
def _finished(path: str) -> LIFNetwork:
    from saf.lif.network import load_lif

    return load_lif(Path(path))


@lru_cache(NETWORKS_KEPT)
def _unfinished(path: str, summary: str) -> LIFNetwork:
    from saf.training.checkpoint import Checkpoint
    from saf.training.to_lif import lif_network

    return lif_network(Checkpoint.read(Path(path)), json.loads(summary))


@lru_cache(NETWORKS_KEPT)
def _dataset(name: str, builtin: bool) -> Dataset:
    if not builtin:
        return load(Path(name))
    if name not in BUILTIN:
        raise DataError(f"there is no data set {name!r} built in", hint="show an image instead")
    make: Callable[[], Dataset] = BUILTIN[name]
    return make()


def _say(stream: Any, message: dict[str, Any]) -> None:
    stream.write(json.dumps(message, allow_nan=False).encode() + b"\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
