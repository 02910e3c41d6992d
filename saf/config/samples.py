"""What a specification asks of the samples of its data set, and whether they fit; no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from saf.config.augmentations import AUGMENTATIONS, Augmentation
from saf.config.encodings import ENCODINGS
from saf.config.job import MOST_TIMESTEPS, JobSpecification

Kind = Literal["images", "events", "series"]


class Samples(NamedTuple):
    """Facts of the samples of a data set."""

    name: str
    """The data set in sentences: "the data set vowels"."""
    kind: Kind
    timesteps: int | None
    """T of event frames and series."""
    is_bounded: bool
    """Whether no sample can hold a value outside [0, 1]."""


class Misfit(NamedTuple):
    """Why a specification and a data set cannot be trained together."""

    pointer: str
    """JSON pointer to the setting."""
    message: str
    remedy: str


def misfits(specification: JobSpecification, samples: Samples) -> Iterator[Misfit]:
    """What of `specification` does not fit the `samples`, the most important first."""
    steps, asked = samples.timesteps, specification.timesteps
    called = "event frames" if samples.kind == "events" else "time steps"
    if steps is not None and steps > MOST_TIMESTEPS:
        yield Misfit(
            "/dataset",
            f"{samples.name} has {steps:,} {called} a sample, and a network takes at most "
            f"{MOST_TIMESTEPS:,}",
            "upload series of fewer time steps: take every n-th value, means over n values, or cut "
            "each into several samples",
        )
    elif steps is not None and asked not in ("auto", steps):
        yield Misfit(
            "/timesteps",
            f"{samples.name} has {steps} {called} a sample and timesteps is {asked}",
            f'set timesteps to {steps}, or to "auto"',
        )
    if (setting := specification.conversion.on_grid) and not samples.is_bounded:
        of = "series of any values" if samples.kind == "series" else "event frames of counts"
        yield Misfit(
            f"/conversion/{setting}",
            f"{samples.name} has {of}, which are not in [0, 1], so that nothing can be proven for "
            "all of them",
            f"set {setting} to null: the conversion is measured then; or upload samples in bytes "
            "that mean value / 255, as saf.data.save writes a Dataset of unit 255",
        )
    encoding = specification.input.encoding
    if encoding.in_time and samples.kind == "images":
        yield Misfit(
            "/input/encoding/name",
            f"the encoding {encoding.name} is for data in time, and {samples.name} has images, "
            "which are the same at every time step",
            "take " + " or ".join(kind().name for kind in ENCODINGS if not kind.in_time),
        )
    if samples.kind == "series":
        for number, change in enumerate(specification.augment):
            name = change if isinstance(change, str) else change.name
            kind = AUGMENTATIONS[name] if isinstance(change, str) else type(change)
            if issubclass(kind, Augmentation) and kind.of_images:
                yield Misfit(
                    f"/augment/{number}",
                    f"{name} changes the places of pixels, and {samples.name} holds series, which "
                    "have none",
                    "leave it out of augment",
                )
