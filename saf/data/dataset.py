"""A data set in memory: training, test and perhaps validation samples with their labels.

Shapes: N samples, T time steps, C channels, H × W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saf.data.blocks import blocks
from saf.data.findings import findings
from saf.data.statistics import Statistics, channel_statistics, frames_of
from saf.errors import DataError

Array = NDArray[Any]
Kind = Literal["images", "events", "series"]

MAX_SIDE = 4096
MAX_CHANNELS = 1024
MAX_TIMESTEPS = 1024
MAX_SERIES_STEPS = 65_536
MAX_CLASSES = 65_536
MAX_CLASS_NAME = 200
MAX_SKIPPED = 10_000_000  # skipped files
MAX_LISTED = 100  # skipped files that a summary names
LARGEST_COUNT = 1e18  # of event frames in floats; of series, in either direction
SPLITS = {"train": "training", "test": "test", "val": "validation"}
"""Splits by the endings of their fields, and what they are called in sentences."""
PIXELS, COUNTS = 255, 1
"""What bytes are divided by to be what a network sees: units of `Dataset`."""


class Decision(NamedTuple):
    """What a reader decided where the files could have been read differently."""

    setting: str
    """The setting of the format that would have said so, such as "layout"; "" if there is none."""
    value: str
    """What was taken, such as "N H W C"."""
    why: str
    """In words, for the page of the data set: "the last axis has 3 values, as colours have"."""


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Labelled samples. Building one checks it; DataError says what is wrong with it.

    `x_*` are `N C H W` for images, `N T C H W` for event frames, `N T C` for series (signals of C
    channels in time). uint8 means value / unit; float32 means the value itself, which for images is
    in [0, 1], for event frames a count of at least 0, and for series any number. `unit` is 255
    where bytes are shares of the brightest, 1 where they are counts; of floats it is 1 always, and
    of images in bytes 255. `y_*` are int64 in [0, classes); other integers are converted. A
    validation split is optional: `x_val` and `y_val` are both given or both None.

    `lengths_*` are int64 `(N,)` where samples in time are padded: how many of the T steps of each
    are its own, from the first, at least 1. All splits have them or none.

    `decisions` and `skipped` (files that were left out, by name, with the reason) tell how the
    samples were read; they are part of the summary. The canonical file has of these the skipped
    files, so that the report of a training tells of them.
    """

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    class_names: tuple[str, ...]
    x_val: Array | None = None
    y_val: NDArray[np.int64] | None = None
    decisions: tuple[Decision, ...] = ()
    skipped: tuple[str, ...] = ()
    unit: int = PIXELS
    lengths_train: NDArray[np.int64] | None = None
    lengths_test: NDArray[np.int64] | None = None
    lengths_val: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        check_class_names(self.class_names)
        _check_unit(self.x_train, self.unit)
        if self.x_train.dtype != np.uint8:
            object.__setattr__(self, "unit", COUNTS)
        if (self.x_val is None) != (self.y_val is None):
            there, missing = ("y_val", "x_val") if self.x_val is None else ("x_val", "y_val")
            raise DataError(
                f"there is {there} without {missing}",
                hint="Give samples and labels of the validation split, or neither.",
            )
        for split in self.splits:
            labels = check_labels(getattr(self, f"y_{split}"), f"y_{split}", self.classes)
            object.__setattr__(self, f"y_{split}", labels)
            _check_samples(getattr(self, f"x_{split}"), f"x_{split}", len(labels))
        self._check_lengths()
        for split in self.splits[1:]:
            x = getattr(self, f"x_{split}")
            if self.x_train.shape[1:] != x.shape[1:]:
                raise DataError(
                    f"training samples have the shape {self.x_train.shape[1:]}, "
                    f"{SPLITS[split]} samples {x.shape[1:]}",
                    hint="Bring all splits to one shape.",
                )
            if self.x_train.dtype != x.dtype:
                raise DataError(
                    f"x_train is {self.x_train.dtype}, x_{split} is {x.dtype}",
                    hint="Store all splits as uint8, or all as float32.",
                )

    def _check_lengths(self) -> None:
        given = [split for split in SPLITS if getattr(self, f"lengths_{split}") is not None]
        if not given:
            return
        if set(given) != set(self.splits):
            raise DataError(
                f"there are lengths for {' and '.join(given)}, and the splits are "
                f"{' and '.join(self.splits)}",
                hint="Give the lengths of the samples of all splits, or of none.",
            )
        for split in given:
            labels, steps = len(getattr(self, f"y_{split}")), self.timesteps
            lengths = check_lengths(
                getattr(self, f"lengths_{split}"), f"lengths_{split}", labels, steps
            )
            object.__setattr__(self, f"lengths_{split}", lengths)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.x_train.shape[1:]))
        counts = " + ".join(f"{len(getattr(self, f'y_{split}')):,}" for split in self.splits)
        splits = ", ".join(SPLITS[split] for split in self.splits)
        return f"Dataset({counts} samples ({splits}) of {shape}, {self.classes} classes)"

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that there are: "train", "test" and, where it is given, "val"."""
        return tuple(SPLITS) if self.y_val is not None else tuple(SPLITS)[:2]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def is_events(self) -> bool:
        """Whether the samples are event frames, that is change with time."""
        return self.x_train.ndim == 5

    @property
    def is_series(self) -> bool:
        """Whether the samples are series: values of channels in time, of no place."""
        return self.x_train.ndim == 3

    @property
    def are_features(self) -> bool:
        """Whether the samples are numbers without place or time."""
        return self.x_train.ndim == 4 and self.x_train.shape[2:] == (1, 1)

    @property
    def kind(self) -> Kind:
        """ "images", "events" or "series"."""
        kinds: dict[int, Kind] = {3: "series", 4: "images", 5: "events"}
        return kinds[self.x_train.ndim]

    @property
    def is_padded(self) -> bool:
        """Whether samples are of different lengths, which `lengths_*` tell."""
        return self.lengths_train is not None

    @property
    def timesteps(self) -> int | None:
        """T of event frames and series, None for images."""
        return None if self.x_train.ndim == 4 else int(self.x_train.shape[1])

    @property
    def is_bounded(self) -> bool:
        """Whether no sample of this kind can hold a value outside [0, 1]: images, and bytes that
        are divided by 255; counts go beyond, and series may be negative."""
        return self.x_train.ndim == 4 or self.unit == PIXELS

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """(C, H, W); of series (C, 1, 1)."""
        channels, height, width = frames_of(self.x_train).shape[-3:]
        return int(channels), int(height), int(width)

    def facts(self) -> dict[str, Any]:
        """What `saf.config.samples.Samples` holds beside a name."""
        return {
            "kind": self.kind,
            "timesteps": self.timesteps,
            "is_bounded": self.is_bounded,
            "shape": self.sample_shape,
        }

    def channel_statistics(self) -> Statistics:
        """Mean and standard deviation (C,) of the training samples as the network sees them.

        uint8 counts as value / unit. The deviation is at least 1e-6, and of series and features as
        small as it is, 1e-6 where a channel is constant. Of padded samples their own time steps
        count. Of event frames in floats the values that would rule a channel alone are left out, by
        the rule in `saf.data.statistics`, with a warning in the log. Memory stays bounded.
        """
        return channel_statistics(self.x_train, self.unit, self.lengths_train)

    def _lengths_summary(self) -> dict[str, Any] | None:
        if not self.is_padded:
            return None
        every = np.concatenate([getattr(self, f"lengths_{split}") for split in self.splits])
        return {
            "shortest": int(every.min()),
            "longest": int(every.max()),
            "mean": float(every.mean()),
        }

    def summary(self) -> dict[str, Any]:
        """What a catalogue shows of the data set, as JSON values. Looks at every sample."""
        mean, deviation = self.channel_statistics()
        none = np.zeros(0, np.int64)
        labels = {"train": self.y_train, "test": self.y_test, "val": self.y_val}
        present = {split: none if y is None else y for split, y in labels.items()}
        return {
            "kind": self.kind,
            "shape": list(self.sample_shape),
            "timesteps": self.timesteps,
            "classes": self.classes,
            "class_names": list(self.class_names),
            "counts": {
                **{split: len(y) for split, y in present.items()},
                "per_class": {
                    split: np.bincount(y, minlength=self.classes).tolist()
                    for split, y in present.items()
                },
            },
            "dtype": self.x_train.dtype.name,
            "unit": self.unit,
            "lengths": self._lengths_summary(),
            "mean": mean.tolist(),
            "std": deviation.tolist(),
            "findings": [finding._asdict() for finding in findings(self)],
            "decisions": [decision._asdict() for decision in self.decisions],
            "skipped": skipped_of(self),
        }


def check_lengths(
    lengths: Array, name: str, samples: int, timesteps: int | None
) -> NDArray[np.int64]:
    """Lengths `(N,)` of padded samples as int64; DataError unless each is one of 1…T."""
    if timesteps is None:
        raise DataError(
            f"there is {name}, and the samples are images, which have no time",
            hint="Leave the lengths out.",
        )
    if lengths.shape != (samples,) or lengths.dtype.kind not in "iu":
        raise DataError(
            f"{name} is {lengths.dtype} of shape {lengths.shape}; one whole number for each of "
            f"the {samples} samples is expected",
            hint="Give for each sample how many of its time steps are its own.",
        )
    outside = (lengths < 1) | (lengths > timesteps)
    if outside.any():
        index = int(outside.argmax())
        raise DataError(
            f"{name}[{index}] is {int(lengths[index])}; samples have 1 to {timesteps} time steps",
            hint="Give for each sample how many of its time steps are its own; leave out samples "
            "of none.",
        )
    return lengths.astype(np.int64, copy=False)


def skipped_of(dataset: Dataset) -> dict[str, Any]:
    """How many files were left out, and the first hundred by name, as JSON values."""
    return {"count": len(dataset.skipped), "files": list(dataset.skipped[:MAX_LISTED])}


def check_class_names(names: tuple[str, ...]) -> None:
    """DataError unless these can name the classes of a data set."""
    if not 2 <= len(names) <= MAX_CLASSES:
        raise DataError(
            f"the data set has {len(names)} class{'' if len(names) == 1 else 'es'}; "
            f"a classifier needs 2 to {MAX_CLASSES}",
            hint="Give samples of at least two classes, labelled 0, 1, 2, …",
        )
    seen: set[str] = set()
    for index, name in enumerate(names):
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_CLASS_NAME:
            raise DataError(
                f"the name of class {index} is no text of 1 to {MAX_CLASS_NAME} characters",
                hint="Shorten or correct the class names.",
            )
        if not name.isprintable():
            raise DataError(
                f"the name of class {index} holds control characters: {name!a}",
                hint="Use printable characters in class names.",
            )
        if name in seen:
            raise DataError(f"two classes are named {name!r}", hint="Give each class its own name.")
        seen.add(name)


def check_labels(labels: Array, name: str, classes: int | None = None) -> NDArray[np.int64]:
    """Labels `(N,)` as int64; DataError unless they are integers in [0, classes)."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"{name} has the shape {labels.shape}; one label per sample is expected",
            hint="Turn one-hot rows into class numbers with y.argmax(axis=1).",
        )
    if labels.dtype.kind not in "iu":
        raise DataError(
            f"{name} is {labels.dtype}; labels are integers",
            hint=f"Convert with {name}.astype('int64').",
        )
    if len(labels) == 0:
        raise DataError(
            f"{name} is empty",
            hint="Training and test split need samples; leave out a validation split without any.",
        )
    upper = MAX_CLASSES if classes is None else classes
    outside = (labels < 0) | (labels >= upper)
    if outside.any():
        index = int(outside.argmax())
        raise DataError(
            f"{name}[{index}] is {int(labels[index])}; labels are in 0…{upper - 1}",
            hint="Number the classes 0, 1, 2, … the same way in all splits.",
        )
    return labels.astype(np.int64, copy=False)


def _check_unit(x: Array, unit: int) -> None:
    if unit not in (PIXELS, COUNTS):
        raise DataError(
            f"the unit of the samples is {unit!r}", hint="Bytes have the unit 255, or 1 for counts."
        )
    if unit == COUNTS and x.ndim == 4 and x.dtype == np.uint8:
        raise DataError(
            "images in bytes have the unit 1", hint="Give images in bytes of 0…255 the unit 255."
        )


def _check_samples(x: Array, name: str, labels: int) -> None:
    if x.ndim not in (3, 4, 5):
        raise DataError(
            f"{name} has the shape {x.shape}",
            hint="Images are N C H W, event frames N T C H W, series N T C.",
        )
    if len(x) != labels:
        raise DataError(
            f"{name} has {len(x)} samples, and there are {labels} labels for it",
            hint="Give exactly one label per sample.",
        )
    channels, height, width = frames_of(x).shape[-3:]
    steps = 1 if x.ndim == 4 else x.shape[1]
    for what, size, most in (
        ("time steps", steps, MAX_SERIES_STEPS if x.ndim == 3 else MAX_TIMESTEPS),
        ("channels", channels, MAX_CHANNELS),
        ("pixels of height", height, MAX_SIDE),
        ("pixels of width", width, MAX_SIDE),
    ):
        if not 1 <= size <= most:
            raise DataError(
                f"{name} of shape {x.shape} has {size} {what}; 1 to {most} are accepted",
                hint="Check the order of the axes: N C H W, N T C H W for event frames, N T C for "
                "series.",
            )
    if x.dtype == np.uint8:
        return
    if x.dtype != np.float32:
        raise DataError(f"{name} is {x.dtype}", hint="Store samples as uint8 or float32.")
    for chunk in blocks(x):
        lowest, highest = float(chunk.min()), float(chunk.max())  # NaN if there is one
        if not np.isfinite([lowest, highest]).all():
            raise DataError(
                f"{name} holds NaN or infinite values", hint="Remove or replace those samples."
            )
        if x.ndim == 5 and highest > LARGEST_COUNT:
            raise DataError(
                f"{name} holds the event count {highest:g}; counts are at most {LARGEST_COUNT:g}, "
                "so that sums of them stay finite in float32",
                hint="Remove or clip such counts, which no sensor sends.",
            )
        if x.ndim == 3 and max(-lowest, highest) > LARGEST_COUNT:
            raise DataError(
                f"{name} holds values from {lowest:g} to {highest:g}; series have values of at "
                f"most {LARGEST_COUNT:g}, so that sums of them stay finite in float32",
                hint="Remove or clip such values, or scale the channel.",
            )
        if x.ndim == 5 and lowest < 0:
            raise DataError(
                f"{name} holds the event count {lowest:g}; counts are at least 0",
                hint="Put events of negative polarity into a channel of their own.",
            )
        if x.ndim == 4 and not 0 <= lowest <= highest <= 1:
            raise DataError(
                f"{name} holds values from {lowest:g} to {highest:g}; floats are in [0, 1]",
                hint="Scale them, x / 255 for values up to 255, or store the images as uint8. "
                "Normalisation is done by the network.",
            )
