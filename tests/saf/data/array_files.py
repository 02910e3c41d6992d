"""Arrays as the content of HDF5 and of MATLAB's files, and images to put into them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import scipy.io

X = np.random.default_rng(6).integers(0, 256, (20, 9, 7, 3), np.uint8)
Y = np.arange(20) % 2


def hdf5(content: Mapping[str, Any], userblock: int = 0, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=userblock) as file:
        for name, values in content.items():
            file.create_dataset(name, data=values, **options)
    return buffer.getvalue()


def mat(**variables: Any) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, do_compression=True)
    return buffer.getvalue()
