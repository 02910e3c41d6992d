"""What a specification asks of the samples of its data set, and whether they fit; no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from saf.config.augmentations import AUGMENTATIONS, Augmentation
from saf.config.encodings import ENCODINGS
from saf.config.job import MOST_TIMESTEPS, JobSpecification
from saf.config.presentation import ImageSequence, image_sequence

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
    shape: tuple[int, ...]
    """C H W of an image, an event frame, or a time step of series, C 1 1."""

    @property
    def has_places(self) -> bool:
        """Whether a sample has pixels beside each other."""
        return tuple(self.shape[1:]) != (1, 1)

    def sequence(self, specification: JobSpecification) -> ImageSequence | None:
        """What `specification` makes of images; None where they stay whole, or are none."""
        if self.kind != "images":
            return None
        return image_sequence(specification.input.present, self.shape)

    def steps(self, specification: JobSpecification) -> int | None:
        """T, where it is that of the samples, or of the sequence that images are shown as."""
        sequence = self.sequence(specification)
        return self.timesteps if sequence is None else sequence.timesteps


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
    yield from _misfits_of_presentation(specification, samples)
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
    if encoding.in_time and samples.kind == "images" and specification.input.present == "whole":
        yield Misfit(
            "/input/encoding/name",
            f"the encoding {encoding.name} is for data in time, and {samples.name} has images, "
            "which are the same at every time step",
            "take "
            + " or ".join(kind().name for kind in ENCODINGS if not kind.in_time)
            + ", or show the images as sequences: set input.present to rows",
        )
    if not samples.has_places:
        nouns = {"series": "series", "images": "features", "events": "frames of one pixel"}
        for number, change in enumerate(specification.augment):
            name = change if isinstance(change, str) else change.name
            kind = AUGMENTATIONS[name] if isinstance(change, str) else type(change)
            if issubclass(kind, Augmentation) and kind.of_images:
                yield Misfit(
                    f"/augment/{number}",
                    f"{name} changes the places of pixels, and {samples.name} holds "
                    f"{nouns[samples.kind]}, which have none",
                    "leave it out of augment",
                )


def _misfits_of_presentation(specification: JobSpecification, samples: Samples) -> Iterator[Misfit]:
    present, asked = specification.input.present, specification.timesteps
    if present != "whole" and samples.kind != "images":
        has = "event frames" if samples.kind == "events" else "series"
        yield Misfit(
            "/input/present",
            f"{samples.name} has {has}, which have time steps of their own, and no {present}",
            "set input.present to whole",
        )
    sequence = samples.sequence(specification)
    if sequence is None:
        return
    _, height, width = samples.shape
    shown = f"{samples.name} has images of {height} × {width} pixels, which {sequence.words} are "
    shown += f"{sequence.timesteps:,} time steps"
    if sequence.timesteps > MOST_TIMESTEPS:
        others = "rows or columns" if max(height, width) <= MOST_TIMESTEPS else "whole"
        yield Misfit(
            "/input/present",
            f"{shown}, and a network takes at most {MOST_TIMESTEPS:,}",
            f"set input.present to {others}, or upload smaller images",
        )
    elif asked not in ("auto", sequence.timesteps):
        yield Misfit(
            "/timesteps",
            f"{shown}, and timesteps is {asked}",
            f'set timesteps to {sequence.timesteps}, or to "auto"',
        )
