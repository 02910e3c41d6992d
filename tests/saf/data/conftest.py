"""Writes data sets as people have them, without the code under test."""

from __future__ import annotations

import gzip
import io
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import py7zr
import pytest
from PIL import Image

from saf.data import Dataset
from tests.saf.data.pictures import Pictures

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Files = dict[str, bytes]


@pytest.fixture
def png() -> Callable[..., bytes]:
    """`png(pixels, mode=None, format="PNG")`: an encoded image of `H W` or `H W C` uint8."""

    def encode(pixels: Any, mode: str | None = None, format: str = "PNG") -> bytes:
        buffer = io.BytesIO()
        image = Image.fromarray(np.asarray(pixels))
        (image.convert(mode) if mode else image).save(buffer, format)
        return buffer.getvalue()

    return encode


@pytest.fixture
def image_files(png: Callable[..., bytes]) -> Callable[..., Files]:
    """`image_files(folders)`: four 6 × 5 gray PNGs in each folder, all different."""

    def write(*folders: str, count: int = 4) -> Files:
        generator = np.random.default_rng(len(folders))
        return {
            f"{folder}/{index:02}.png": png(generator.integers(0, 256, (6, 5), np.uint8))
            for folder in folders
            for index in range(count)
        }

    return write


@pytest.fixture
def place(tmp_path: Path) -> Callable[[Mapping[str, bytes]], Path]:
    """Write files below a new folder and return it."""

    def write(files: Mapping[str, bytes]) -> Path:
        root = tmp_path / f"folder{len(list(tmp_path.iterdir()))}"
        root.mkdir()
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        return root

    return write


@pytest.fixture
def pack(tmp_path: Path) -> Callable[[Mapping[str, bytes], str], Path]:
    """Write files into an archive of the kind `zip`, `7z`, `tar`, `tar.gz`, `tar.bz2`, `tar.xz` or
    `tar.zst`."""

    def write(files: Mapping[str, bytes], kind: str) -> Path:
        path = tmp_path / f"archive{len(list(tmp_path.iterdir()))}.{kind}"
        if kind == "zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, content in files.items():
                    archive.writestr(name, content)
        elif kind == "7z":
            with py7zr.SevenZipFile(path, "w") as packed:
                for name, content in files.items():
                    packed.writestr(content, name)
        elif kind == "tar.zst":
            path.write_bytes(zstd.compress(write(files, "tar").read_bytes()))
        else:
            mode: Any = f"w:{kind.removeprefix('tar').removeprefix('.')}"
            with tarfile.open(path, mode) as archive:
                for name, content in files.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        return path

    return write


@pytest.fixture
def idx() -> Callable[..., bytes]:
    """`idx(array)`: the bytes of an IDX file of unsigned bytes."""

    def encode(array: Any) -> bytes:
        array = np.asarray(array, np.uint8)
        head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        return bytes(head + array.tobytes())

    return encode


@pytest.fixture
def mnist(idx: Callable[..., bytes]) -> Callable[..., Files]:
    """`mnist(gz=False)`: MNIST's four files with 12 and 6 images of 7 × 5 pixels, 3 classes."""

    def write(*, gz: bool = False, channels: int | None = None) -> Files:
        generator = np.random.default_rng(3)
        shape = (7, 5) if channels is None else (channels, 7, 5)
        files = {}
        for split, count in (("train", 12), ("t10k", 6)):
            images = generator.integers(0, 256, (count, *shape), np.uint8)
            files[f"{split}-images-idx{images.ndim}-ubyte"] = idx(images)
            files[f"{split}-labels-idx1-ubyte"] = idx(np.arange(count) % 3)
        if gz:
            return {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
        return files

    return write


@pytest.fixture
def npz(tmp_path: Path) -> Callable[..., Path]:
    """`npz(x_train=…)`: an .npz of 8 and 4 images `1 5 6` with what is given put in its place."""

    def write(*, without: str = "", **arrays: Any) -> Path:
        generator = np.random.default_rng(5)
        content = {
            "x_train": generator.integers(0, 256, (8, 1, 5, 6), np.uint8),
            "y_train": np.arange(8) % 2,
            "x_test": generator.integers(0, 256, (4, 1, 5, 6), np.uint8),
            "y_test": np.arange(4) % 2,
            **arrays,
        }
        content.pop(without, None)
        path = tmp_path / "data.npz"
        np.savez(path, **content)
        return path

    return write


@pytest.fixture
def dataset() -> Callable[..., Dataset]:
    """`dataset(**changes)`: 10 and 4 images `3 4 6` of two classes."""

    def build(**changes: Any) -> Dataset:
        generator = np.random.default_rng(7)
        content: dict[str, Any] = {
            "x_train": generator.integers(0, 256, (10, 3, 4, 6), np.uint8),
            "y_train": np.arange(10) % 2,
            "x_test": generator.integers(0, 256, (4, 3, 4, 6), np.uint8),
            "y_test": np.arange(4) % 2,
            "class_names": ("cat", "dög"),
        }
        return Dataset(**(content | changes))

    return build


@pytest.fixture
def pictures() -> Pictures:
    """Makes images that are all different."""
    return Pictures()
