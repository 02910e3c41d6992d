"""What traces a certificate back to a network, its specification and its samples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from torch import Tensor

from saf import tensorfile
from saf.lif.network import LIFNetwork


def digests_of(network: LIFNetwork) -> dict[str, str]:
    """SHA-256 of the tensors of a network, and of the specification of its job."""
    specification = network.description.specification
    text = json.dumps(specification, sort_keys=True, separators=(",", ":"))
    return {
        "sha256_of_tensors": tensorfile.digest_of(network.tensors),
        "sha256_of_specification": hashlib.sha256(text.encode()).hexdigest(),
    }


def digest_of_samples(batches: Iterable[Tensor]) -> str:
    """SHA-256 of samples that come batch by batch, however many at a time."""
    digest = hashlib.sha256()
    for x in batches:
        digest.update(x.cpu().contiguous().numpy().data)
    return digest.hexdigest()
