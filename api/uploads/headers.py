"""What headers of tus say: checksums, and what is known of a file."""

from __future__ import annotations

import base64
import binascii
import re

from starlette.exceptions import HTTPException

ALGORITHMS = {"sha1": 20, "sha256": 32}  # bytes of their values
_KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]+")


def read_checksum(header: str) -> tuple[str, bytes]:
    """The name of the hash and the value of `Upload-Checksum`. Raises HTTPException."""
    name, _, encoded = header.strip().partition(" ")
    try:
        value = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != ALGORITHMS.get(name):
        raise HTTPException(
            400, f"Upload-Checksum is one of {', '.join(ALGORITHMS)}, a space, and it in base64"
        )
    return name, value


def read_metadata(header: str) -> dict[str, str]:
    """The pairs of `Upload-Metadata`. Raises HTTPException."""
    found: dict[str, str] = {}
    for pair in header.split(","):
        key, _, encoded = pair.strip().partition(" ")
        if not key and not encoded:
            continue
        try:
            value = base64.b64decode(encoded.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            value = "\0"
        if not _KEY.fullmatch(key) or key in found or "\0" in value:
            raise HTTPException(
                400,
                "Upload-Metadata is pairs between commas: a key, a space, and a text in base64, "
                "such as filename bWluZS56aXA=",
            )
        found[key] = value
    return found
