"""WebDataset's shards: a tar with `000000.png`, `000000.cls`, `000001.png`, … for each sample."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from functools import partial
from typing import ClassVar, Literal

import numpy as np

from saf.data.arrays.names import ALL, split_of
from saf.data.dataset import Dataset
from saf.data.formats.format import FORMATS, Recognised
from saf.data.images.decode import MAX_FILE, is_image_name
from saf.data.images.labelled import LabelledImages, labelled
from saf.data.images.survey import Load
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.errors import DataError

_KEYS = ("label", "cls", "class", "class_id", "target", "y", "class_name")
_MAX_LABEL = 2**20


@FORMATS.add
class WebDataset(LabelledImages):
    """A shard as `webdataset` writes it: for each sample an image and, under the same name, its
    class as `.cls`, or in a `.json` with a key `label` (`labels_from` names another)."""

    label: ClassVar[str] = "a WebDataset shard of images and .cls files"
    place: ClassVar[int] = 49
    specificity: ClassVar[int] = 60

    name: Literal["webdataset"] = "webdataset"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        if source.single:
            return None
        images, labels = _members(source)
        beside = sum(key in labels for key in images)
        return Recognised() if beside and beside * 2 > len(images) else None

    def read(self, source: Source, limits: Limits) -> Dataset:
        images, labels = _members(source)
        if without := [images[key] for key in images if key not in labels]:
            raise DataError(
                f"{len(without)} images are without a label: {', '.join(without[:10])}",
                hint="Give each image a .cls file with the number of its class.",
            )
        found: dict[str, str] = {}
        keys = {name: key for key, name in labels.items() if key in images}
        for content in source.contents(list(keys)):
            text = content.read_whole(_MAX_LABEL).decode("utf-8", "replace").strip()
            found[keys[content.name]] = _label(content.name, text, self.labels_from)
        splits: dict[str, list[str]] = {}
        for key in images:
            splits.setdefault(split_of(key.rpartition("/")[0]), []).append(key)
        if "train" not in splits or ALL in splits:
            splits = {ALL: list(images)}

        def read(wanted: Collection[str]) -> Iterator[tuple[str, Load]]:
            for content in source.contents(list(wanted)):
                yield content.name, partial(content.read_whole, MAX_FILE)

        return labelled(
            source,
            read,
            {split: [images[key] for key in own] for split, own in splits.items()},
            {split: np.array([found[key] for key in own]) for split, own in splits.items()},
            self,
            limits,
        )


def _members(source: Source) -> tuple[dict[str, str], dict[str, str]]:
    """The files with images and those with labels by the name of the sample: what is before the
    first dot."""
    images: dict[str, str] = {}
    labels: dict[str, str] = {}
    for member in source.members:
        folder, _, base = member.name.rpartition("/")
        stem, _, suffix = base.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        if is_image_name(member.name):
            images.setdefault(key, member.name)
        elif suffix.lower() == "cls" or (suffix.lower() == "json" and key not in labels):
            labels[key] = member.name
    return images, labels


def _label(name: str, text: str, key: str | None) -> str:
    if name.lower().endswith(".json"):
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        keys = (key,) if key else _KEYS
        fields = values if isinstance(values, dict) else {}
        value = next((fields[k] for k in keys if k in fields), None)
        if not isinstance(value, (int, str)):
            raise DataError(
                f"{name} holds no label",
                hint="Write a key label with the class into each .json, or say labels_from = the "
                "key that holds it.",
            )
        text = str(value)
    if not text or len(text) > 200:
        raise DataError(f"{name} holds no class", hint="Write the number of the class into it.")
    return text
