"""Names of classes out of lists that lie beside arrays, tables and recordings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from saf.data.dataset import Dataset, Decision, check_class_names
from saf.data.images.tables.class_lists import fitting, lists_of
from saf.data.sources.source import Source


def named(dataset: Dataset, source: Source) -> Dataset:
    """The data set with the names and the order of its classes that a list says, such as
    `classes.txt` or `class_names.json`; a list that does not fit is told. Raises DataError where
    names cannot be those of classes."""
    lists = {} if source.single else lists_of(source)
    if not lists:
        return dataset
    found, words = fitting(lists, dataset.class_names)
    told = (*dataset.decisions, *(Decision("", value, why) for value, why in words))
    skipped = tuple(each for each in dataset.skipped if each.partition(": ")[0] not in lists)
    if found is None:
        return replace(dataset, decisions=told, skipped=skipped)
    check_class_names(found.order)
    place = {name: number for number, name in enumerate(found.order)}
    numbers = np.array([place[found.name_of[name]] for name in dataset.class_names], np.int64)
    labels = {f"y_{split}": numbers[getattr(dataset, f"y_{split}")] for split in dataset.splits}
    return replace(dataset, class_names=found.order, decisions=told, skipped=skipped, **labels)
