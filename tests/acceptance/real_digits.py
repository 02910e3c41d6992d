"""scikit-learn's handwritten digits in the file formats that people have on disk."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from saf.data import digits

Bytes = NDArray[np.uint8]


def idx(values: NDArray[np.generic]) -> bytes:
    """MNIST's format: magic, sizes, bytes."""
    header = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(np.uint8).tobytes()


def as_idx_zip(train: int = 1000, test: int = 300) -> bytes:
    """The four files of MNIST, two of them gzipped, in a zip."""
    data = digits()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("train-images-idx3-ubyte", idx(data.x_train[:train, 0]))
        archive.writestr("train-labels-idx1-ubyte.gz", gzip.compress(idx(data.y_train[:train])))
        archive.writestr("t10k-images-idx3-ubyte.gz", gzip.compress(idx(data.x_test[:test, 0])))
        archive.writestr("t10k-labels-idx1-ubyte", idx(data.y_test[:test]))
    return buffer.getvalue()


def as_image_folder_zip(train: int = 600, test: int = 200) -> bytes:
    """`digits/train/<class>/NNNN.png` and the same for test, in a zip."""
    data = digits()
    buffer = io.BytesIO()
    splits = {
        "train": (data.x_train[:train], data.y_train[:train]),
        "test": (data.x_test[:test], data.y_test[:test]),
    }
    with zipfile.ZipFile(buffer, "w") as archive:
        for split, (images, labels) in splits.items():
            for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                archive.writestr(f"digits/{split}/{label}/{number:04}.png", png(image[0]))
    return buffer.getvalue()


def png(image: Bytes) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()
