"""CIFAR-10-C and CIFAR-100-C: the test images of CIFAR under corruptions of five severities.

https://github.com/hendrycks/robustness: `fog.npy` and others hold uint8 `50000 32 32 3`, the
10,000 images in each severity from 1 to 5, one after the other; `labels.npy` is of all of them.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from saf.data.arrays.assemble import ArrayFormat, assemble
from saf.data.arrays.names import Roles
from saf.data.arrays.stored.array import InMemory, Stored
from saf.data.arrays.stored.joined import Kept
from saf.data.arrays.stored.npy import arrays_of
from saf.data.arrays.stored.npz import member
from saf.data.dataset import Dataset, Decision
from saf.data.formats.format import (
    FORMATS,
    Candidate,
    NeedsChoiceError,
    Question,
    Recognised,
)
from saf.data.labels import holdout
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.errors import DataError

_CORRUPTIONS = frozenset(
    {"gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur"}
    | {"zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform"}
    | {"pixelate", "jpeg_compression", "speckle_noise", "gaussian_blur", "spatter", "saturate"}
)
_SEVERITIES = 5


@FORMATS.add
class CifarC(ArrayFormat):
    """`CIFAR-10-C.tar` as published: one of its corruptions (`corruption`), of one severity
    (`severity`, 1 to 5) or of all. A fifth of the images, in all severities, is held out."""

    label: ClassVar[str] = "CIFAR-10-C"
    place: ClassVar[int] = 32
    specificity: ClassVar[int] = 60

    name: Literal["cifar-c"] = "cifar-c"
    corruption: str | None = Field(None, description="'fog': which corruption", max_length=40)
    severity: int | None = Field(None, ge=1, le=_SEVERITIES, description="1 to 5; default: all")

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        names = {m.name.rsplit("/", 1)[-1].removesuffix(".npy") for m in source.members}
        known = names & _CORRUPTIONS
        return Recognised() if known and "labels" in names else None

    def read(self, source: Source, limits: Limits) -> Dataset:
        files = {m.name.rsplit("/", 1)[-1].removesuffix(".npy"): m.name for m in source.members}
        there = sorted(set(files) & _CORRUPTIONS)
        if self.corruption is None and len(there) > 1:
            candidates = tuple(Candidate(each, each.replace("_", " ")) for each in there)
            asks = "Which of the corruptions is it to be?"
            raise NeedsChoiceError(source.label, (Question("corruption", asks, candidates),))
        chosen = self.corruption or there[0]
        if chosen not in there:
            raise DataError(
                f"{source.label} holds no corruption {chosen!r}", hint=f"Say {', '.join(there)}."
            )
        labels = _array(source, files["labels"]).whole(limits)
        images = _array(source, files[chosen])
        if labels.ndim != 1 or len(labels) != images.shape[0] or len(labels) % _SEVERITIES:
            raise DataError(
                f"{files[chosen]} holds {images.shape[0]} images, {files['labels']} "
                f"{labels.shape} labels; five severities of the same images are expected",
                hint="Send CIFAR-10-C.tar as it is distributed.",
            )
        each = len(labels) // _SEVERITIES
        first = labels[:each].astype(np.int64)
        classes = int(first.max(initial=0)) + 1
        test = np.tile(holdout(first, [str(n) for n in range(each)], classes), _SEVERITIES)
        wanted = np.ones(len(labels), np.bool_)
        if self.severity is not None:
            wanted[: each * (self.severity - 1)] = wanted[each * self.severity :] = False
        roles = Roles()
        for split, own in (("train", wanted & ~test), ("test", wanted & test)):
            roles.samples[split] = Kept(images, own)
            roles.labels[split] = InMemory(files["labels"], labels[own])
        told = Decision(
            "split", "holdout", "the set is made for testing: a fifth of its images is held out"
        )
        return assemble(roles, self, source, decisions=[told])


def _array(source: Source, name: str) -> Stored:
    found = arrays_of(name, name, member(source, name), source.limits)
    if len(found) != 1 or found[0].fortran:
        raise DataError(f"{name} is no plain array", hint="Send the files as they are distributed.")
    return found[0]
