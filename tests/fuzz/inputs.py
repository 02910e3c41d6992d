"""Files that people might upload, and what somebody hostile would make of them.

`make(kind, random)` gives a name and bytes; the same `random` gives the same ones.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.damage import DTYPES, EXTREMES, PICKLES, damaged, mutated
from tests.fuzz.wellformed import (
    File,
    cifar_binary_files,
    cifar_files,
    compressed,
    csv_bytes,
    hdf5_bytes,
    idx_bytes,
    idx_files,
    images,
    mat_bytes,
    npy,
    npz_files,
    parquet_bytes,
    pixels,
    png,
    seven_zipped,
    stl_files,
    tarred,
    zipped,
)
from tests.saf.data import recordings


def make(kind: str, random: Random) -> File:
    """A file of one of `KINDS`."""
    return KINDS[kind](random)


def zip_archive(random: Random) -> File:
    files = random.choice([images, idx_files, npz_files])(random)
    content = zipped(random, files)
    match random.randrange(7):
        case 0:  # headers that lie about lengths
            at = content.rfind(b"PK\x01\x02")
            layout = struct.pack("<II", random.choice(EXTREMES) % 2**32, 2**32 - 1)
            content = content[: at + 20] + layout + content[at + 28 :]
        case 1:  # a bomb, and bombs in a bomb
            content = zipped(random, {"train/a/0.png": bytes(100 * 2**20)})
        case 2:
            content = zipped(random, files | {"inner.zip": content})
        case 3:  # a link
            buffer = io.BytesIO(content)
            with zipfile.ZipFile(buffer, "a") as archive:
                info = zipfile.ZipInfo("train/a/link.png")
                info.create_system, info.external_attr = 3, 0o120777 << 16
                archive.writestr(info, random.choice(["/etc/passwd", "../../..", "0.png"]))
            content = buffer.getvalue()
        case 4:  # the same member many times over in the directory
            at, end = content.find(b"PK\x01\x02"), content.rfind(b"PK\x05\x06")
            entries = content[at:end] * random.choice([2, 1000])
            content = content[:at] + entries + content[end:]
        case 5:
            content = zipped(random, mutated(random, files))
        case _:
            content = damaged(random, content)
    return "data.zip", content


def tar_archive(random: Random) -> File:
    files = random.choice([images, idx_files, npz_files])(random)
    special = tarfile.TarInfo(random.choice(["train/a/x.png", "x", "../x"]))
    match random.randrange(6):
        case 0:
            special.type = random.choice(
                [
                    tarfile.SYMTYPE,
                    tarfile.LNKTYPE,
                    tarfile.CHRTYPE,
                    tarfile.FIFOTYPE,
                    tarfile.GNUTYPE_SPARSE,
                    tarfile.CONTTYPE,
                    b"Z",
                ]
            )
            special.linkname = random.choice(["/etc/passwd", "../../../etc/passwd", "x", ""])
            return compressed(random, tarred(files, (special, b"")))
        case 1:
            special.size = random.choice([n for n in EXTREMES if n])
            return compressed(random, tarred(files, (special, b"x")))
        case 2:
            special.pax_headers = {
                random.choice(["path", "size", "GNU.sparse.map", "x"]): random.choice(
                    ["-1", "9" * 30, "../../escaped", "0,1,2", "y" * 100_000, "nan"]
                )
            }
            return compressed(random, tarred(files, (special, b"x")))
        case 3:
            return compressed(random, bytes(random.choice([512, 10240, 100 * 2**20])))
        case 4:
            name, content = compressed(random, tarred(mutated(random, files)))
            return name, content
        case _:
            name, content = compressed(random, tarred(files))
            return name, damaged(random, content)


def gzip_file(random: Random) -> File:
    inside = random.choice(
        [
            tarred(images(random)),
            bytes(100 * 2**20),
            idx_bytes(pixels(random, 4, 5, 5)),
            gzip.compress(gzip.compress(bytes(2**20))),
            b"",
            random.randbytes(1000),
        ]
    )
    content = gzip.compress(inside, compresslevel=random.choice([1, 9]))
    return f"data.{random.choice(['gz', 'tgz', 'tar.gz'])}", damaged(random, content)


def idx(random: Random) -> File:
    files = idx_files(random)
    victim = random.choice(sorted(files))
    if not victim.endswith(".gz") and random.random() < 0.6:
        dimensions = random.choice([0, 1, 2, 3, 4, 5, 200, 255])
        shape = [random.choice(EXTREMES) % 2**32 for _ in range(dimensions)]
        kind = random.choice([0, 8, 8, 8, 9, 11, 13, 255])
        head = struct.pack(f">BBBB{dimensions}I", 0, 0, kind, dimensions, *shape)
        files[victim] = head + bytes(random.randrange(100))
    else:
        files = mutated(random, files)
    return "mnist.zip", zipped(random, files)


def cifar(random: Random) -> File:
    files = cifar_files(random)
    victim = random.choice(sorted(files))
    content = damaged(random, files[victim])
    files[victim] = random.choice([content, content, random.choice(PICKLES)])
    return "cifar.tar.gz", gzip.compress(tarred(files), compresslevel=1)


def npz(random: Random) -> File:
    files = npz_files(random)
    if random.random() < 0.5:
        shape: Any = random.choice(
            [
                "(8, 1, 5, 4)",
                "()",
                "(-1,)",
                "(0, 1, 5, 4)",
                f"({random.choice(EXTREMES)}, 1, 5, 4)",
                f"({2**31}, {2**31}, {2**31}, 1)",
                "(8, 1, 100000, 1)",
                "(" + "1, " * 64 + ")",
                "(" * 300 + ")" * 300,
                "(True, 1.5, 'a')",
                "[8, 1]",
                "(1" + "0" * 5000 + ",)",
            ]
        )
        kind = random.choice([*(repr(d) for d in DTYPES), "[('a', '<i4')]", "('<i4', (9999,))"])
        text = f"{{'descr': {kind}, 'fortran_order': {random.random() < 0.3}, 'shape': {shape}, }}"
        header = text.encode().ljust(random.choice([0, 118]), b" ") + b"\n"
        major = random.choice([1, 1, 2, 3, 9])
        length = struct.pack("<H" if major == 1 else "<I", len(header) % 2**16)
        head = b"\x93NUMPY" + bytes([major, 0]) + length + header
        files[random.choice(sorted(files))] = head + bytes(random.choice([0, 160, 10_000]))
    else:
        files = mutated(random, files)
    if random.random() < 0.2:
        names = random.choice([["a", "b"], ["a"] * 2, ["x" * 300, "y"], ["\0", ""], ["a"] * 70_000])
        files["class_names.npy"] = npy(random, np.array(names))
    return "data.npz", zipped(random, files)


def npy_file(random: Random) -> File:
    return "data.npy", damaged(random, npy(random, pixels(random, 8, 1, 5, 4)))


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def hostile_png(random: Random) -> bytes:
    """Right in its checksums, wrong in what it says."""
    width, height = (random.choice([1, 6, 1024, 1025, 65_535, 2**31 - 1, 0]) for _ in "wh")
    depth, colour = random.choice([(8, 0), (16, 0), (1, 3), (8, 2), (16, 6), (3, 9)])
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, random.choice([0, 1, 7]))
    body = zlib.compress(bytes(random.choice([10, 10_000, 50 * 2**20])), 9)
    text = zlib.compress(bytes(random.choice([10, 80 * 2**20])), 9)
    extra = random.choice([b"zTXt", b"iCCP", b"iTXt", b"acTL", b"tRNS", b"PLTE", b"eXIf"])
    parts = [chunk(b"IHDR", head), chunk(extra, b"key\0\0" + text), chunk(b"IDAT", body)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def image_folder(random: Random) -> File:
    files = images(random)
    victim = random.choice(sorted(files))
    match random.randrange(8):
        case 0 | 1:
            files[victim] = hostile_png(random)
        case 6 | 7:
            return labelled_images(random)
        case 2:
            files[victim] = damaged(random, png(random, 6, "RGB", "JPEG"))
        case 3:
            other = random.choice(["GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO"])
            files[victim] = png(random, 16, "RGB", other)
        case 4:
            count = random.choice([2, 300])
            files = {
                f"class {index}/{name}.png": png(random) for index in range(count) for name in "ab"
            }
        case _:
            files = mutated(random, files)
    return "images.zip", zipped(random, files)


def seven_zip(random: Random) -> File:
    """A 7z archive that is damaged, or whose header is, with checksums that are right."""
    files = images(random)
    if random.random() < 0.2:
        files["train/a/zeros.png"] = bytes(random.choice([2**20, 80 * 2**20]))
    content = seven_zipped(random, files)
    match random.randrange(3):
        case 0:
            content = damaged(random, content)
        case 1:
            begin = 32 + struct.unpack_from("<Q", content, 12)[0]
            header = damaged(random, content[begin:])
            start = struct.pack("<QQI", begin - 32, len(header), zlib.crc32(header))
            seal = struct.pack("<I", zlib.crc32(start)) + start
            content = content[:8] + seal + content[32:begin] + header
    return "data.7z", content


def labelled_images(random: Random) -> File:
    """Images in one folder, with a table or lists that may be damaged."""
    where = random.choice(["", "train/", "images/", "part_1/", "a/b/c/"])
    names = [f"{random.choice(['', 'cat.', '00'])}{number}" for number in range(8)]
    files = {f"{where}{name}.png": png(random) for name in names}
    mark = random.choice([",", ";", "\t", " ", "|"])
    rows = [
        mark.join([name, random.choice("ab"), random.choice(["train", "test"])]) for name in names
    ]
    head = random.choice([[], [mark.join(["id", "label", "split"])], ['"unclosed'], ["\0"]])
    text = "\n".join([*head, *rows]).encode(random.choice(["utf-8", "utf-16", "cp1252"]))
    other = random.choice(["labels.csv", "train.txt", "metadata.jsonl", "val.tsv", "images.txt"])
    files[other] = damaged(random, text) if random.random() < 0.5 else text
    if random.random() < 0.3:
        files["metadata.jsonl"] = random.choice([b"[" * 5000, b'{"file_name": {}}\n' * 3, b"1\n2"])
    if random.random() < 0.3:
        files["train_test_split.txt"] = damaged(random, b"1 0\n2 1\n")
    return "labelled.zip", zipped(random, files)


def canonical(random: Random) -> File:
    """The service's own format, sent by somebody who knows it."""
    described = json.dumps({"version": 1, "class_names": ["a", "b"]})
    x, y = pixels(random, 4, 1, 3, 3).tobytes(), (np.arange(4) % 2).tobytes()
    entries: dict[str, Any] = {"__metadata__": {"saf_dataset": described}}
    offset = 0
    for name, kind, shape, content in (
        ("y_train", "I64", [4], y),
        ("y_test", "I64", [4], y),
        ("x_train", "U8", [4, 1, 3, 3], x),
        ("x_test", "U8", [4, 1, 3, 3], x),
    ):
        size = [offset, offset + len(content)]
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": size}
        offset += len(content)
    if random.random() < 0.5:
        name = random.choice(["y_train", "x_test"])
        entries[name]["shape"] = random.choice([[0], [2**40, 1, 3, 3], [4, 1, 9, 1], [-1], [], "x"])
    text = json.dumps(entries).encode()
    return "data.safetensors", damaged(random, struct.pack("<Q", len(text)) + text + y + y + x + x)


def hdf5(random: Random) -> File:
    return "data.h5", damaged(random, hdf5_bytes(random))


def mat(random: Random) -> File:
    return "data.mat", damaged(random, mat_bytes(random))


def parquet(random: Random) -> File:
    return "train.parquet", damaged(random, parquet_bytes(random))


def table(random: Random) -> File:
    content = csv_bytes(random)
    if random.random() < 0.3:
        content = content.replace(
            b",", random.choice([b"\0", b'"', b"\r", b"9" * 400, b"1e999,"]), 3
        )
    if random.random() < 0.1:
        content = b"1," * 6_000_000
    return "data.csv", damaged(random, content)


def raw_bytes(random: Random) -> File:
    files = random.choice([stl_files, cifar_binary_files])(random)
    return "data.zip", zipped(random, mutated(random, files))


def shard(random: Random) -> File:
    files = {f"{n}.png": png(random) for n in range(6)}
    for n in range(6):
        label = b"%d" % (n % 2)
        files |= random.choice([{f"{n}.cls": label}, {f"{n}.json": b'{"label": %s}' % label}])
    if random.random() < 0.3:
        files["3.json"] = random.choice([b"[" * 5000, b'{"label": {}}', b'{"label": 1}', b""])
    return "data.tar", tarred(mutated(random, files))


def nested(random: Random) -> File:
    """An .npz for each split in an archive; sparse matrices among them."""
    inner = zipped(random, mutated(random, npz_files(random)))
    sparse = {
        "format.npy": npy(random, np.array(random.choice(["csr", "csc", "coo"]))),
        "shape.npy": npy(random, np.array(random.choice([[8, 64], [2**40, 2], [-1, 64], [8]]))),
        "data.npy": npy(random, pixels(random, 16)),
        "indices.npy": npy(random, np.arange(16) * random.choice([1, 4, 2**40, -1])),
        "indptr.npy": npy(random, np.arange(9) * random.choice([2, 3, -2])),
    }
    files = {"train.npz": inner, "test.npz": damaged(random, inner)}
    if random.random() < 0.5:
        labels = npy(random, np.arange(8) % 2)
        files = {"x_train.npz": zipped(random, mutated(random, sparse)), "y_train.npy": labels}
    return "data.zip", zipped(random, files)


def events(random: Random) -> File:
    """Recordings of an event camera, or lists of spikes."""
    some = random.choice([*recordings.KINDS.values(), None, None])
    if some is not None:
        write, ending, _, _ = some
        files = recordings.class_folders(write, ending)
    elif random.random() < 0.5:
        files = recordings.gestures()
    else:
        files = recordings.shd()
    for _ in range(random.choice([0, 1, 1, 2])):
        files = mutated(random, files)
    return "events.zip", zipped(random, files)


KINDS: dict[str, Callable[[Random], File]] = {
    "zip": zip_archive,
    "tar": tar_archive,
    "gzip": gzip_file,
    "idx": idx,
    "cifar": cifar,
    "npz": npz,
    "npy": npy_file,
    "nested npz": nested,
    "hdf5": hdf5,
    "mat": mat,
    "parquet": parquet,
    "csv": table,
    "raw bytes": raw_bytes,
    "webdataset": shard,
    "image folder": image_folder,
    "7z": seven_zip,
    "events": events,
    "canonical": canonical,
}
