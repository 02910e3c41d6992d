"""WebDataset's shards: a tar with `000000.png`, `000000.cls`, `000001.png`, … for each sample."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np

from saf.data.arrays.names import ALL, names_a_split, split_of
from saf.data.dataset import Dataset, Decision
from saf.data.formats.format import (
    FORMATS,
    Candidate,
    NeedsChoiceError,
    Question,
    Recognised,
)
from saf.data.images.decode import MAX_FILE, decode, is_image_name
from saf.data.images.labelled import LabelledImages, labelled
from saf.data.images.sheet import COLUMNS, TILE, sheet, spread
from saf.data.images.survey import Load, Read
from saf.data.images.tables.class_lists import fitting, lists_of
from saf.data.images.tables.columns import says_a_split
from saf.data.images.tables.records import published
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.errors import DataError

_KEYS = ("label", "cls", "class", "class_id", "target", "y", "class_name")
_MAX_LABEL = 2**20


@FORMATS.add
class WebDataset(LabelledImages):
    """A shard as `webdataset` writes it: for each sample an image and, under the same name, its
    class as `.cls`, or in a `.json` with a key `label` (`labels_from` names another). A key `split`
    of the `.json` says which samples are for testing. Of several images of a sample, such as
    `000.left.jpg` and `000.right.jpg`, `images_from` names the one: `left.jpg`."""

    label: ClassVar[str] = "a WebDataset shard of images and .cls files"
    place: ClassVar[int] = 49
    specificity: ClassVar[int] = 60

    names_classes: ClassVar[bool] = True

    name: Literal["webdataset"] = "webdataset"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        if source.single:
            return None
        members = _members(source)
        images, labels = members.images, members.labels
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
        members = _members(source)
        images = self._images(source, members, limits)
        taken = set(images.values())
        others = [n for own in members.images.values() for n in own.values() if n not in taken]
        why = f"samples have several images; {len(others):,} others are left out"
        told = [Decision("images_from", self.images_from or "", why)] if others else []
        labels = members.labels
        if self.labels_from not in (None, "cls", "folders"):
            labels = members.jsons or labels
        if without := [images[key] for key in images if key not in labels]:
            raise DataError(
                f"{len(without)} images are without a label: {', '.join(without[:10])}",
                hint="Give each image a .cls file with the number of its class.",
            )
        found: dict[str, str] = {}
        records: dict[str, dict[str, Any]] = {}
        said: dict[str, tuple[str, str]] = {}  # a key and its value of a .json beside a .cls
        keys = {labels[key]: key for key in images}
        short = {member.name for member in source.members if member.size <= _MAX_LABEL}
        keys |= {
            name: key for key, name in members.jsons.items() if key in images and name in short
        }
        for content in source.contents(list(keys)):
            text = content.read_whole(_MAX_LABEL).decode("utf-8", "replace").strip()
            key = keys[content.name]
            if content.name == labels[key]:
                found[key] = (
                    _class_folder(key)
                    if self.labels_from == "folders"
                    else _label(content.name, text, self.labels_from)
                )
            if _is_json(content.name):
                fields = _fields(text)
                records[images[key]] = {k: fields[k] for k in fields if says_a_split(k)}
                if content.name != labels[key] and (other := _key_of(text)) is not None:
                    said[key] = other, str(fields[other])
        if self.labels_from is None:
            _check_agreement(source, found, said)
        splits: dict[str, list[str]] = {}
        for key in images:
            splits.setdefault(split_of(key.rpartition("/")[0]), []).append(key)
        if "train" not in splits or ALL in splits:
            splits = {ALL: list(images)}
        named, words = fitting(lists_of(source), set(found.values()))
        told += [Decision("", value, why) for value, why in words]
        if named is not None:
            found = {key: named.name_of[value] for key, value in found.items()}
        return labelled(
            source,
            _reader(source),
            {split: [images[key] for key in own] for split, own in splits.items()},
            {split: np.array([found[key] for key in own]) for split, own in splits.items()},
            self,
            limits,
            class_names=None if named is None else named.order,
            ways=published(source.label, records, "key"),
            decisions=told,
            skipped=[f"{name}: {self.images_from} is taken of its sample" for name in others],
        )

    def _images(self, source: Source, members: _Members, limits: Limits) -> dict[str, str]:
        """The one image of each sample. Raises NeedsChoiceError where samples have several."""
        parts = members.parts
        chosen = (self.images_from or "").lstrip(".")
        chosen = chosen if chosen in parts else chosen.lower()
        if self.images_from is None:
            twice = [key for key, own in members.images.items() if len(own) > 1]
            if not twice:
                return {key: next(iter(own.values())) for key, own in members.images.items()}
            several = " and ".join(members.images[twice[0]].values())
            whole = [part for part, names in parts.items() if len(names) == len(members.images)]
            if not whole:
                raise DataError(
                    f"{len(twice):,} of {len(members.images):,} samples have several images, such "
                    f"as {several}, and none of {', '.join(parts)} is there for all samples",
                    hint="Leave one image for each sample, under the same ending in all of them.",
                )
            raise _which(source, several, {part: parts[part] for part in whole}, limits)
        lacking = [key for key, own in members.images.items() if chosen not in own]
        if chosen not in parts or lacking:
            where = f", and {lacking[0]} has none" if chosen in parts else ""
            raise DataError(
                f"images_from: {len(lacking):,} of {len(members.images):,} samples have no "
                f"{self.images_from!r}{where}",
                hint=f"Say one of {', '.join(parts)} that all samples have.",
            )
        return {key: own[chosen] for key, own in members.images.items()}


@dataclass
class _Members:
    """Files by the name of the sample: what is before the first dot."""

    images: dict[str, dict[str, str]] = field(default_factory=dict)
    """By what is behind the dot: "jpg", "left.jpg"."""
    labels: dict[str, str] = field(default_factory=dict)
    jsons: dict[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, list[str]]:
        """The images by what is behind the dot."""
        found: dict[str, list[str]] = {}
        for own in self.images.values():
            for part, name in own.items():
                found.setdefault(part, []).append(name)
        return found


def _members(source: Source) -> _Members:
    found = _Members()
    for member in source.members:
        folder, _, base = member.name.rpartition("/")
        stem, _, suffix = base.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        part = suffix.lower()
        if is_image_name(member.name):
            own = found.images.setdefault(key, {})
            if (other := own.pop(part, None)) is not None:  # 000.PNG beside 000.png
                own[other.rpartition("/")[2].partition(".")[2]] = other
                part = suffix
            own[part] = member.name
        elif part == "json":
            found.jsons[key] = member.name
        elif part == "cls":
            found.labels[key] = member.name
    found.labels = found.jsons | found.labels
    return found


def _reader(source: Source) -> Read:
    def read(wanted: Collection[str]) -> Iterator[tuple[str, Load]]:
        for content in source.contents(list(wanted)):
            yield content.name, partial(content.read_whole, MAX_FILE)

    return read


def _which(
    source: Source, several: str, parts: Mapping[str, Sequence[str]], limits: Limits
) -> NeedsChoiceError:
    """The question which of several images of a sample is the one, with some of each."""
    shown = {part: spread(names, COLUMNS) for part, names in parts.items()}
    pixels = {}
    for name, load in _reader(source)({name for names in shown.values() for name in names}):
        try:
            pixels[name] = decode(name, load(), size=(TILE, TILE), limits=limits)
        except DataError:
            continue  # told later, with all others
    ways = tuple(
        Candidate(
            part,
            f"{len(parts[part]):,} images such as {names[0]}",
            sheet([(part, [pixels[name] for name in names if name in pixels])]),
        )
        for part, names in shown.items()
    )
    asks = f"Which image is to be taken of a sample that has several, such as {several}?"
    return NeedsChoiceError(source.label, (Question("images_from", asks, ways),))


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


def _fields(text: bytes | str) -> dict[str, Any]:
    """What a .json holds by key; nothing where it is none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _check_agreement(
    source: Source, found: Mapping[str, str], said: Mapping[str, tuple[str, str]]
) -> None:
    """NeedsChoiceError where the `.cls` and the `.json` of samples (by key) say different classes:
    samples of one class by the first are of several by the second, or the same names are
    given to other samples."""
    pairs = {(found[key], value) for key, (_, value) in said.items()}
    numbers, names = {one for one, _ in pairs}, {other for _, other in pairs}
    same = numbers == names and any(one != other for one, other in pairs)
    if len(pairs) == len(numbers) and not same:
        return
    key, _ = next(iter(said.values()))
    ways = (
        Candidate("cls", f"{len(numbers):,} classes, as the .cls files say"),
        Candidate(key, f"{len(names):,} classes, as the .json files say"),
    )
    asks = "Which class has an image: that of its .cls, or that of its .json?"
    raise NeedsChoiceError(source.label, (Question("labels_from", asks, ways),))


def _key_of(text: bytes | str) -> str | None:
    """The key of a .json that holds a class; None where there is none."""
    fields = _fields(text)
    return next((key for key in _KEYS if isinstance(fields.get(key), (int, str))), None)


def _label(name: str, text: str, key: str | None) -> str:
    if _is_json(name):
        keys = (key,) if key else _KEYS
        fields = _fields(text)
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
