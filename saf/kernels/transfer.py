"""Copies from the host to the device of a training that do not block.

A copy from pageable memory to a GPU waits for all work that the GPU has been given.
"""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def sent(x: Tensor, device: torch.device) -> Tensor:
    """Copy `x` to `device`, from pinned memory where that is a GPU."""
    if x.device.type == "cpu" and device.type == "cuda":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def shared(array: np.ndarray) -> Tensor:
    """A tensor of the memory of `array`, which nobody may write to where that is read-only: a data
    set that is mapped stays mapped."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
        return torch.from_numpy(array)


@lru_cache(maxsize=1024)
def constants(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """`values` as a read-only tensor, which is cached."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)
