"""WebDataset's shards: a tar with `000000.png`, `000000.cls`, `000001.png`, … for each sample."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from functools import partial
from typing import ClassVar, Literal

import numpy as np

from saf.data.arrays.names import ALL, names_a_split, split_of
from saf.data.dataset import Dataset
from saf.data.formats.format import FORMATS, Candidate, Question, Recognised
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
        own = [labels[key] for key in images if key in labels]
        if not own or len(own) * 2 <= len(images):
            return None
        jsons = [name for name in own if _is_json(name)]
        folders = {_folder(key) for key in images}
        if not jsons or len(folders) == 1 or all(names_a_split(folder) for folder in folders):
            return Recognised()
        # Classes may be folders, with something about each image beside it.
        keys = [_key_of(source.head(name, _MAX_LABEL)) for name in jsons[:3]]
        if None in keys:
            return None
        asks = "Which class has an image: its folder, or what the .json beside it says?"
        ways = (
            Candidate("folders", f"the folder of {jsons[0]}"),
            Candidate(str(keys[0]), f"what {str(keys[0])!r} is in {jsons[0]}"),
        )
        return Recognised((Question("labels_from", asks, ways),))

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
            key = keys[content.name]
            found[key] = (
                _class_folder(key)
                if self.labels_from == "folders"
                else _label(content.name, text, self.labels_from)
            )
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


def _is_json(name: str) -> bool:
    return name.lower().endswith(".json")


def _folder(key: str) -> str:
    """The folder that a sample is in, without those above."""
    return key.rpartition("/")[0].rpartition("/")[2]


def _class_folder(key: str) -> str:
    folder = _folder(key)
    if not folder or names_a_split(folder):
        raise DataError(
            f"{key} lies in no folder of a class", hint="Say labels_from = the key in the .json."
        )
    return folder


def _key_of(text: bytes) -> str | None:
    """The key of a .json that holds a class; None where there is none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    fields = values if isinstance(values, dict) else {}
    return next((key for key in _KEYS if isinstance(fields.get(key), (int, str))), None)


def _label(name: str, text: str, key: str | None) -> str:
    if _is_json(name):
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
