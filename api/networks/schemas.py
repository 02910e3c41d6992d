"""What the API says of uploaded networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from api.web.schemas import Document, Timestamp


class NetworkDocument(Document):
    """A network of somebody's own, to start jobs from: `"init": {"network": id}`."""

    id: str
    object: Literal["uploaded_network"] = "uploaded_network"
    name: str
    bytes: int
    sha256: str
    damaged: bool = False
    """Whether the file was found to have another content than was stored; nothing starts from it
    then."""
    shape: list[int]
    """C H W of one sample, or of one frame, as the first layer gets it."""
    frames: bool
    """Whether a sample is a sequence of frames."""
    classes: int
    class_names: list[str]
    layers: list[str]
    parameters: int
    """Weights and biases."""
    neurons: int
    source: Literal["lif", "nir", "weights"] = "lif"
    """What was uploaded: a `lif.safetensors`, an NIR file, or the weights of a ReLU network."""
    assumptions: Sequence[str] = ()
    """What the file does not say, and was taken to be so."""
    settings: dict[str, Any]
    """What a job that starts from it takes over, unless it says otherwise."""
    created_at: Timestamp
    owner: str | None = None
    project: str | None = None
    url: str
