"""Tensors and metadata in one safetensors file: written whole or not at all, checked when read.

The header holds, besides the caller's metadata, the SHA-256 of all tensors, so that a file that
was cut short or changed is told from a good one. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from saf import files

CHECKSUM = "sha256_of_tensors"
MOST_HEADER_BYTES = 16 * 2**20  # of a network with 65,536 classes: 4 MiB
MOST_TENSORS = 20_000
MOST_PROBLEMS = 3  # that an error names
LONGEST_REASON = 500  # characters


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write `tensors` and `metadata` (JSON values) to `path`; raises OSError, leaving no part."""
    at_rest = {
        name: tensor.detach().to("cpu").contiguous() for name, tensor in sorted(tensors.items())
    }
    header = {key: json.dumps(value, allow_nan=False) for key, value in metadata.items()}
    header[CHECKSUM] = json.dumps(digest_of(at_rest))
    files.write_bytes(path, _sorted_header(save(at_rest, header)))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and metadata of a file that `write` wrote.

    Raises FileNotFoundError when there is none, and ValueError, saying what is wrong, when the
    file is damaged or of another origin.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    _check_size(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header: dict[str, str] = file.metadata() or {}
            names = file.keys()
            if len(names) > MOST_TENSORS:
                raise ValueError(f"it has {len(names)} tensors; at most {MOST_TENSORS} are read")
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path.name} is damaged or no safetensors file: {in_short(error)}"
        ) from error
    if CHECKSUM not in header:
        raise ValueError(f"{path.name} was not written by this system: it has no {CHECKSUM}")
    try:
        metadata: dict[str, Any] = {key: json.loads(value) for key, value in header.items()}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the header of {path.name} is damaged: {in_short(error)}") from error
    if metadata.pop(CHECKSUM) != digest_of(tensors):
        raise ValueError(f"{path.name} is damaged: its tensors are not those that were written")
    return tensors, metadata


def in_short(error: Exception) -> str:
    """The beginning of what an error says, in one line. pydantic's say what is wrong where."""
    if isinstance(error, ValidationError):
        found = error.errors(include_url=False, include_context=False, include_input=False)
        said = "; ".join(
            f"{'.'.join(str(part)[:64] for part in e['loc'])}: {e['msg']}"
            for e in found[:MOST_PROBLEMS]
        )
        if len(found) > MOST_PROBLEMS:
            said += f"; and {len(found) - MOST_PROBLEMS} more"
    else:
        said = str(error) or type(error).__name__
    line = " ".join(said.split())
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]}…"


def _check_size(path: Path) -> None:
    """ValueError before anything of a header or a file that cannot be right is read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        beginning = file.read(8)
    length = int.from_bytes(beginning, "little")
    if length > MOST_HEADER_BYTES or length > size:
        if beginning[:4] == b"PK\x03\x04" or b"\x80\x00" < beginning[:2] <= b"\x80\x05":
            raise ValueError(
                f"{path.name} is a file of torch.save or of pickle, which can run code when it is "
                "read and is never opened here; write the same tensors with "
                "safetensors.torch.save_file"
            )
        raise ValueError(
            f"{path.name} is damaged or no safetensors file: its header is said to have {length} "
            f"bytes; the file has {size}, and headers at most {MOST_HEADER_BYTES}"
        )
    if size > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        raise ValueError(f"{path.name} has {size} bytes, more than the memory of this machine")


def _sorted_header(file: bytes) -> bytes:
    """The same file with the keys of its header in order: same content, same bytes.

    A safetensors file is the length of its header (8 bytes, little-endian), the header in JSON
    padded with spaces, and the tensors at offsets counted from there.
    """
    length = int.from_bytes(file[:8], "little")
    header = json.dumps(json.loads(file[8 : 8 + length]), sort_keys=True, separators=(",", ":"))
    encoded = header.encode()
    encoded += b" " * (-len(encoded) % 8)
    return len(encoded).to_bytes(8, "little") + encoded + file[8 + length :]


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values of `tensors`, on the CPU."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
