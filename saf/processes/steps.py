"""The steps of a LIF network on one sample, as JSON values: scores, spikes, pictures."""

from __future__ import annotations

import base64
import io
from itertools import islice
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from saf.data.curves import HEIGHT, WIDTH, series_pixels
from saf.data.preview import brightest, frame_pixels
from saf.errors import DataError
from saf.processes.samples import Floats, Shown

if TYPE_CHECKING:
    from torch import Tensor

    from saf.lif.network import LIFNetwork

SHOWN_NEURONS = 128  # of a layer …
GOLDEN = 0.618
SHOWN_NUMBERS = 12_000  # … and neurons × steps of it, at most
MOST_PIXELS = 2**20  # of all frames of a sample
MOST_SCORES = 2**20  # classes × steps that an answer holds


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
