"""Image files with labels that lie beside them, in tables and shards, as a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from saf.data.arrays.classes import classes_of
from saf.data.arrays.names import ALL
from saf.data.dataset import SPLITS, Array, Dataset, Decision
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
from saf.data.formats.spelling import ClassCase
from saf.data.images.decode import Background, require_pillow
from saf.data.images.stack import Rules, stacked
from saf.data.images.survey import Read
from saf.data.images.tables.lists import Published
from saf.data.images.tables.records import HOLDOUT, Parts, by_records
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
    class_case: ClassCase = None
    images_from: str | None = Field(
        None, max_length=200, description="which image of a sample that has several: 'left.jpg'"
    )

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
    ways: Sequence[Published] = (),
    decisions: Sequence[Decision] = (),
    skipped: Sequence[str] = (),
) -> Dataset:
    """The data set of images by name and of their labels, by split ("train", "test", "val" or
    "all"). `ways` are splits that stand beside the labels. Without a split for testing a fifth of
    each class is held out, or the validation split taken. Raises DataError, and NeedsChoiceError
    where `ways` leave the split open."""
    require_pillow()
    parts = by_records(source.label, Parts(names, labels), ways, settings.split)
    names, labels = parts.names, parts.labels
    told = [*decisions, *parts.told]
    titles = {split: f"the list of labels{_of(split)}" for split in labels}
    classes = classes_of(
        labels, known=class_names, titles=titles, label=source.label, case=settings.class_case
    )
    told += classes.told
    if classes.why:
        listed = ", ".join(classes.names[:8]) + (", …" if len(classes.names) > 8 else "")
        told.append(Decision("", f"the classes {listed}", classes.why))
    places: dict[str, tuple[str, int]] = {}
    numbers: dict[str, NDArray[np.int64]] = {}
    pooled = [s for s in names if s != "val"]
    if settings.split != HOLDOUT and "test" in names:
        pooled = []
    elif settings.split != HOLDOUT and "val" in names:
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
        skipped=(*skipped, *parts.skipped, *stacks.skipped),
    )


def _of(split: str) -> str:
    """The words that say of which samples something is."""
    return "" if split == ALL else f" of {SPLITS[split]} samples"
