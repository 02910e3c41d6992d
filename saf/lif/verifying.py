"""Trace a file on a disk: which network it is of, and whether what it vouches for is whole."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from saf import tensorfile
from saf.files import digest_of
from saf.lif.exporting import FORMAT

MOST_BYTES = 64 * 2**20  # of a certificate
DATASET = "SHA-256 of the training samples and labels of the data set"
_TRACES = {
    "sha256_of_tensors": "SHA-256 of its tensors",
    "sha256_of_specification": "SHA-256 of its specification",
    "samples_sha256": "checked on samples with the SHA-256",
    "dataset_sha256": DATASET,
}


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What a file is, and whether what it vouches for is unchanged."""

    kind: str
    """"LIF network", "export" or "certificate of a conversion"."""
    says: tuple[str, ...]
    """Lines for a person."""
    problems: tuple[str, ...] = field(default=())
    """What is missing or was changed; empty where all is whole."""


def verify(path: Path | str) -> Verified:
    """Read `path`, a `lif.safetensors`, a certificate of an export, `certificate.json`, or a file
    that a certificate beside it names, and compare the digests with the files. Nothing is executed.

    Raises FileNotFoundError, and ValueError for a file of any other kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix not in (".safetensors", ".json") and (named := _certified(path)) is not None:
        return named
    if path.suffix != ".json":
        return _network(path)
    found = _read(path)
    kind = found.get("format") if isinstance(found, dict) else None
    try:
        if kind == FORMAT:
            return _export(path, found)
        if kind == "saf-certificate/1":
            return _conversion(path, found)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} lacks {error} of its format {kind}") from error
    raise ValueError(f"{path.name} is no certificate that this version knows: format {kind!a}")


def _read(path: Path) -> Any:
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path.name} is too large for a certificate")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is no JSON: {tensorfile.in_short(error)}") from error


def _certified(path: Path) -> Verified | None:
    """What the certificate of an export beside `path` says, where one names it."""
    for certificate in sorted(path.parent.glob("*-certificate.json")):
        try:
            found = _read(certificate)
            if any(entry["name"] == path.name for entry in found["files"]):
                verified = _export(certificate, found)
                says = (f"{path.name}, by {certificate.name}", *verified.says)
                return replace(verified, says=says)
        except (ValueError, KeyError, TypeError, AttributeError, OSError):
            continue  # it is none, and says nothing
    return None


def _network(path: Path) -> Verified:
    tensors, metadata = tensorfile.read(path)
    specification = metadata.get("specification")
    name = specification.get("name") if isinstance(specification, dict) else None
    return Verified(
        kind="LIF network",
        says=(
            f"SHA-256 of the file {digest_of(path).sha256}",
            f"SHA-256 of its tensors {tensorfile.digest_of(tensors)}",
            *([f"trained by the job {name}"] if name else []),
        ),
    )


def _export(path: Path, found: dict[str, Any]) -> Verified:
    problems = []
    for entry in found["files"]:
        name = str(entry["name"])
        file = path.parent / name
        if Path(name).name != name or not file.is_file():
            problems.append(f"{name} is not beside it")
        elif digest_of(file).sha256 != entry["sha256"]:
            problems.append(f"{name} is not the file that was certified")
    network = found["network"]
    return Verified(
        kind="export",
        says=(
            f"{found['label']}: {found['statement']}",
            f"of {network['is']}",
            f"SHA-256 of its tensors {network['sha256_of_tensors']}",
            f"SHA-256 of its specification {network['sha256_of_specification']}",
            *(
                [f"replayed on samples with the SHA-256 {found['samples_sha256']}"]
                if found.get("samples_sha256")
                else []
            ),
            f"{DATASET} that they are of {found['dataset_sha256']}"
            if found.get("dataset_sha256")
            else "it names no data set: nothing here says what the network was trained on",
        ),
        problems=tuple(problems),
    )


def _conversion(path: Path, found: dict[str, Any]) -> Verified:
    file, problems = path.parent / "lif.safetensors", []
    if not file.is_file():
        problems.append("lif.safetensors is not beside it")
    elif digest_of(file).sha256 != found["sha256"]:
        problems.append("lif.safetensors is not the file that was certified")
    return Verified(
        kind="certificate of a conversion",
        says=(
            str(found["statement"]),
            f"SHA-256 of the network {found['sha256']}",
            *(f"{what} {found[key]}" for key, what in _TRACES.items() if key in found),
        ),
        problems=tuple(problems),
    )
