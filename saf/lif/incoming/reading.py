"""Read a network of any kind from a file: what it is, is told by its content."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from saf.config.incoming import Reading
from saf.data.dataset import Dataset
from saf.lif.certificate import spread
from saf.lif.incoming import nir_file, relu
from saf.lif.incoming.stack import Incoming
from saf.lif.network import load_lif
from saf.model.inputs import floats


def read_network(
    path: Path | str, reading: Reading | None = None, dataset: Dataset | None = None, name: str = ""
) -> Incoming:
    """The network in a `lif.safetensors`, an NIR file or a state dict in a safetensors file.

    `reading` says what an NIR file or weights leave open, `dataset` (called `name`) balances the
    thresholds of weights. Raises ValueError, which says what is wrong or missing, OSError, and
    ModuleNotFoundError where the package that reads the file is not installed.
    """
    path, asked = Path(path), reading or Reading()
    with path.open("rb") as file:
        start = file.read(len(nir_file.MAGIC))
    if start == nir_file.MAGIC:
        return nir_file.read_nir(path, asked)
    if _is_state_dict(path):
        samples = None if dataset is None else samples_of(dataset, name or "the data set")
        return relu.read_weights(path, asked, samples)
    return Incoming(load_lif(path), "lif")


def samples_of(dataset: Dataset, name: str) -> relu.Samples:
    """Up to 512 images of a data set. Raises ValueError for data in time."""
    if dataset.x_train.ndim != 4:
        raise ValueError(f"{name} holds data in time; thresholds are balanced with images")
    train = spread(len(dataset.y_train), relu.MOST_SAMPLES).numpy()
    test = spread(len(dataset.y_test), relu.MOST_SAMPLES).numpy()

    def values(x: np.ndarray) -> torch.Tensor:
        return floats(torch.from_numpy(np.array(x)), torch.float32, dataset.unit)

    return relu.Samples(
        name,
        values(dataset.x_train[train]),
        values(dataset.x_test[test]),
        torch.from_numpy(np.array(dataset.y_test[test])),
    )


def _is_state_dict(path: Path) -> bool:
    """Whether it is a safetensors file that is not of this library."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError, ValueError):
        return False
    try:
        return not str(json.loads(metadata.get("format", '""'))).startswith("saf-lif/")
    except ValueError:  # "pt", as PyTorch's programs write it
        return True
