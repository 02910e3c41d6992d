"""Image files with labels that lie beside them, in tables and shards, as a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saf.data.arrays.classes import classes_of
from saf.data.dataset import Array, Dataset, Decision
from saf.data.formats.format import Format
from saf.data.formats.settings import (
    LabelsFrom,
    OnDamaged,
    Size,
    Split,
    ValueRange,
    ends_of,
    sides_of,
)
from saf.data.images.decode import Background, require_pillow
from saf.data.images.stack import Rules, stacked
from saf.data.images.survey import Read
from saf.data.labels import holdout
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.errors import DataError


class LabelledImages(Format):
    """A format of image files with labels beside them: the settings that all of them have."""

    size: Size = None
    value_range: ValueRange = None
    background: Background | None = None
    on_damaged: OnDamaged = None
    labels_from: LabelsFrom = None
    split: Split = None

    @property
    def rules(self) -> Rules:
        """What the settings say about reading images."""
        return Rules(
            size=None if self.size is None else sides_of(self.size),
            value_range=None if self.value_range is None else ends_of(self.value_range),
            background=self.background,
            on_damaged=self.on_damaged,
        )


def labelled(
    source: Source,
    read: Read,
    names: Mapping[str, Sequence[str]],
    labels: Mapping[str, Array],
    settings: LabelledImages,
    limits: Limits,
    *,
    class_names: tuple[str, ...] | None = None,
    decisions: Sequence[Decision] = (),
    skipped: Sequence[str] = (),
) -> Dataset:
    """The data set of images by name and of their labels, by split ("train", "test", "val" or
    "all"). Without a split for testing a fifth of each class is held out, or the validation split
    taken. Raises DataError."""
    require_pillow()
    if settings.split not in (None, "holdout"):
        raise DataError(
            f"the split cannot be {settings.split!r}",
            hint="Say holdout, or tell splits by the names of the files: train-…, test-….",
        )
    told = list(decisions)
    classes = classes_of(labels, known=class_names, titles={s: f"labels of {s}" for s in labels})
    if classes.why:
        listed = ", ".join(classes.names[:8]) + (", …" if len(classes.names) > 8 else "")
        told.append(Decision("", f"the classes {listed}", classes.why))
    places: dict[str, tuple[str, int]] = {}
    numbers: dict[str, NDArray[np.int64]] = {}
    pooled = [s for s in names if s != "val"]
    if settings.split is None and "test" in names:
        pooled = []
    elif settings.split is None and "val" in names:
        pooled = []
        names = {("test" if s == "val" else s): own for s, own in names.items()}
        classes.labels["test"] = classes.labels.pop("val")
        told.append(Decision("split", "val is for testing", "there is no other split to test on"))
    if not pooled and "train" not in names:
        raise DataError(
            f"{source.label} holds no images for training",
            hint="Tell splits by the names of the files: train-…, test-….",
        )
    for split, own in names.items():
        if split not in pooled:
            numbers[split] = classes.labels[split]
            places |= {name: (split, row) for row, name in enumerate(own)}
    if pooled:
        every = [name for split in pooled for name in names[split]]
        together = np.concatenate([classes.labels[split] for split in pooled])
        held_out = holdout(together, every, len(classes.names))
        told.append(
            Decision("split", "holdout", "a fifth of each class is held out, always the same")
        )
        rows = {"train": 0, "test": 0}
        for name, test in zip(every, held_out, strict=True):
            split = "test" if test else "train"
            places[name] = (split, rows[split])
            rows[split] += 1
        numbers |= {"train": together[~held_out], "test": together[held_out]}
    stacks = stacked(source, read, places, settings.rules, limits)
    fields: dict[str, Any] = {f"x_{split}": x for split, x in stacks.x.items()}
    fields |= {f"y_{split}": y[stacks.kept[split]] for split, y in numbers.items()}
    return Dataset(
        **fields,
        class_names=classes.names,
        decisions=(*told, *stacks.decisions),
        skipped=(*skipped, *stacks.skipped),
    )
