"""Files as they should be, of every kind that people upload; the same `random` gives the same."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import h5py
import numpy as np
import py7zr
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.io
from PIL import Image

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

File = tuple[str, bytes]
Files = dict[str, bytes]


def pixels(random: Random, *shape: int) -> Any:
    return np.random.default_rng(random.getrandbits(32)).integers(0, 256, shape, np.uint8)


def png(random: Random, side: int = 6, mode: str = "L", format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(random, side, side, 3)).convert(mode).save(buffer, format)
    return buffer.getvalue()


def images(random: Random) -> Files:
    """A folder of images as it should be."""
    modes = random.choice([["L"], ["RGB"], ["L", "RGB"], ["P", "L"], ["1", "RGB"]])
    return {
        f"{split}/{name}/{index}.png": png(random, 6, random.choice(modes))
        for split in ("train", "test")
        for name in "ab"
        for index in range(2)
    }


def idx_bytes(array: Any) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return bytes(head + array.tobytes())


def idx_files(random: Random) -> Files:
    files = {}
    for split, count in (("train", 8), ("t10k", 4)):
        files[f"{split}-images-idx3-ubyte"] = idx_bytes(pixels(random, count, 5, 4))
        files[f"{split}-labels-idx1-ubyte"] = idx_bytes(np.arange(count, dtype=np.uint8) % 2)
    if random.random() < 0.4:
        return {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    return files


def npy(random: Random, array: Any) -> bytes:
    buffer = io.BytesIO()
    version = random.choice([(1, 0)] * 12 + [(2, 0)] * 6 + [(3, 0)])
    np.lib.format.write_array(buffer, array, version=version, allow_pickle=False)
    return buffer.getvalue()


def npz_files(random: Random) -> Files:
    shape = random.choice([(9, 7), (1, 9, 7), (9, 7, 3), (6, 2, 9, 7), (4,), (1, 1, 1, 9, 7)])
    kind = random.choice([np.uint8, np.float32, np.float64, np.int64])
    x = pixels(random, 8, *shape).astype(kind) / (255 if kind in (np.float32, np.float64) else 1)
    y = np.arange(8) % random.choice([1, 2, 4])
    arrays = {"x_train": x, "y_train": y, "x_test": x[:4], "y_test": y[:4]}
    if random.random() < 0.3:
        arrays |= {"x_val": x[4:], "y_val": y[4:]}
    return {f"{name}.npy": npy(random, array) for name, array in arrays.items()}


def pickled(value: Any) -> bytes:
    """As pickle writes it; of the plain kinds that CIFAR's batches hold."""
    match value:
        case dict():
            pairs = b"".join(pickled(key) + pickled(item) for key, item in value.items())
            return b"}(" + pairs + b"u"
        case list():
            return b"](" + b"".join(map(pickled, value)) + b"e"
        case str():
            text = value.encode()
            return b"X" + struct.pack("<I", len(text)) + text
        case bytes():
            return b"B" + struct.pack("<I", len(value)) + value
        case int():
            return b"J" + struct.pack("<i", value)
    raise TypeError(type(value))


def cifar_files(random: Random) -> Files:
    def batch(count: int) -> bytes:
        data = bytes(pixels(random, count, 3072))
        array = (
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01K"
            + bytes([count])
            + b"M\x00\x0c\x86cnumpy\ndtype\nX\x02\x00\x00\x00u1K\x00K\x01\x87R(K\x03X\x01\x00\x00"
            + b"\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
            + pickled(data)
            + b"tb"
        )
        labels = pickled([index % 10 for index in range(count)])
        body = pickled("data") + array + pickled("labels") + labels
        return b"\x80\x02}(" + body + b"u."

    names = [f"data_batch_{number}" for number in range(1, 6)]
    folder = "cifar-10-batches-py/"
    files = {f"{folder}{name}": batch(4) for name in names}
    files[f"{folder}test_batch"] = batch(4)
    meta = pickled({"label_names": [f"class {index}" for index in range(10)]})
    files[f"{folder}batches.meta"] = b"\x80\x02" + meta + b"."
    return files


def hdf5_bytes(random: Random) -> bytes:
    ways: list[dict[str, Any]] = [{}, {"chunks": True}, {"compression": "gzip"}, {"shuffle": True}]
    options = random.choice(ways)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=random.choice(["earliest", "latest"])) as file:
        x = pixels(random, 8, 1, 9, 9)
        file.create_dataset("train/x", data=x, **options)
        file.create_dataset("train/y", data=np.arange(8) % 2)
        file["names"] = np.array(["a", "b"], h5py.string_dtype())
        file.attrs["by"] = "us"
    return buffer.getvalue()


def mat_bytes(random: Random) -> bytes:
    buffer = io.BytesIO()
    x, y = pixels(random, 9, 9, 1, 8), np.arange(8) % 2
    more: dict[str, Any] = random.choice(
        [{}, {"s": {"a": 1}}, {"c": np.array(["a", 1], object)}, {"t": "text"}]
    )
    packed = random.random() < 0.5
    scipy.io.savemat(buffer, {"X": x, "y": y} | more, do_compression=packed)
    return buffer.getvalue()


def parquet_bytes(random: Random) -> bytes:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    blobs = pa.array([{"bytes": png(random), "path": None} for _ in range(8)], kind)
    buffer = io.BytesIO()
    pq.write_table(
        pa.table({"image": blobs, "label": np.arange(8) % 2}),
        buffer,
        compression=random.choice(["none", "snappy", "gzip", "zstd"]),
        row_group_size=random.choice([3, 8]),
    )
    return buffer.getvalue()


def csv_bytes(random: Random) -> bytes:
    head = ["label", *(f"pixel{n}" for n in range(64))]
    rows = [[n % 2, *pixels(random, 64).tolist()] for n in range(12)]
    lines = [",".join(map(str, row)) for row in random.choice([rows, [head, *rows]])]
    return "\n".join(lines).encode()


def stl_files(random: Random) -> Files:
    files: Files = {}
    for split in ("train", "test"):
        files[f"{split}_X.bin"] = bytes(pixels(random, 4, 3 * 96 * 96))
        files[f"{split}_y.bin"] = bytes([1, 2, 1, 2])
    return files | {"class_names.txt": b"plane\nbird\n"}


def cifar_binary_files(random: Random) -> Files:
    rows = pixels(random, 4, 3073)
    rows[:, 0] = np.arange(4) % 2
    return {f"{name}.bin": rows.tobytes() for name in ("data_batch_1", "test_batch")}


def seven_zipped(random: Random, files: Mapping[str, bytes]) -> bytes:
    """A 7z archive by one of the methods that there are, solid or a block for each file."""
    method = random.choice([{"id": py7zr.FILTER_LZMA2, "preset": 1}, {"id": py7zr.FILTER_LZMA}])
    first = random.choice([[], [{"id": py7zr.FILTER_X86}], [{"id": py7zr.FILTER_DELTA}]])
    chosen = random.choice(
        [[*first, method], [{"id": py7zr.FILTER_COPY}], [{"id": py7zr.FILTER_BZIP2}]]
    )
    buffer = io.BytesIO()
    with py7zr.SevenZipFile(buffer, "w", filters=chosen) as archive:
        archive.set_encoded_header_mode(random.random() < 0.3)
        for name, content in files.items():
            archive.writestr(content, name)
    return buffer.getvalue()


def zipped(random: Random, files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    method = random.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name or "?", content)
    return buffer.getvalue()


def tarred(files: Mapping[str, bytes], *more: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tar archive; the size that a header of `more` announces need not be that of its content."""
    parts = []
    for info, content in (*((tarfile.TarInfo(name), files[name]) for name in files), *more):
        info.size = info.size or len(content)
        parts.append(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        parts.append(content + bytes(-len(content) % tarfile.BLOCKSIZE))
    return b"".join(parts) + bytes(2 * tarfile.BLOCKSIZE)


def compressed(random: Random, content: bytes) -> File:
    kind = random.choice(["", ".gz", ".bz2", ".xz", ".zst"])
    pack: dict[str, Callable[[bytes], bytes]] = {
        "": bytes,
        ".gz": gzip.compress,
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
        ".zst": zstd.compress,
    }
    return f"data.tar{kind}", pack[kind](content)
