"""Files beside images that label no whole image: boxes, masks, and what is not read."""

from __future__ import annotations

import re
from collections.abc import Collection

from saf.data.images.decode import is_image_name
from saf.data.images.sheet import spread
from saf.data.images.tables.index import Index
from saf.data.images.tables.table import Texts
from saf.data.images.words import composed
from saf.data.sources.limits import MIB, LimitError
from saf.data.sources.source import Source
from saf.errors import DataError

_BOX = re.compile(r"^\s*\d+(?:\s+-?[\d.]+(?:e-?\d+)?){4,}\s*$", re.IGNORECASE)
"""A line of YOLO: the number of a class and a box, or a polygon."""
_LOOKED_AT = 24
_TEXTS = (
    *(".txt", ".csv", ".tsv", ".lst", ".json", ".jsonl", ".xml", ".md", ".rst", ".html", ".htm"),
    *(".yaml", ".yml", ".cls", ".pdf", ".doc", ".docx", ".py", ".ipynb", ".log", ".db", ".ini"),
    *(".names", ".bib", ".xlsx", ".xls", ".pkl", ".cfg", ".toml", ".sh"),
)
_NOTES = re.compile(r"(?i)^(readme|licen[cs]e|copying|changelog|version|sha256sums|md5sums)\b")


def detection(source: Source, images: Collection[str], doubts: str) -> str:
    """Words for boxes or masks that tell where objects are; "" where there are none. `doubts` are
    the words on folders that may be no classes."""
    where = ""
    if (boxes := _boxes(source, images)) is not None:
        where = f"files such as {boxes} tell where objects are in each image"
    for member in source.members:
        name = member.name.lower()
        if not where and name.endswith(".json") and ("instances" in name or "coco" in name):
            where = f"{member.name} tells where objects are"
    if where:
        return (
            f"{source.label} is for object detection: {where}, and there is no class for a whole "
            "image (label)"
        )
    if "same names" in doubts:
        return (
            f"{source.label} is for segmentation: {doubts}, one the mask of the other, and there "
            "is no class for a whole image (label)"
        )
    return ""


def no_images(source: Source, samples: Collection[str]) -> list[str]:
    """Files in the folders of samples that are named neither as images nor as notes are."""
    folders = {name.rpartition("/")[0] for name in samples}
    return [
        member.name
        for member in source.members
        if member.name.rpartition("/")[0] in folders
        and not is_image_name(member.name)
        and not member.name.lower().endswith(_TEXTS)
        and not _NOTES.match(member.name.rpartition("/")[2])
    ]


def unread_labels(source: Source, images: Collection[str], texts: Texts) -> str:
    """Words for files that may hold labels and are not read, to end a refusal with."""
    others = [
        member.name
        for member in source.members
        if member.name.lower().endswith((".mat", ".json", ".pkl", ".xlsx", ".xls", ".npy"))
    ]
    others = [*_one_each(source, images, (".txt", ".xml", ".cls"))[:1], *others]
    unread = texts.strangers(Index(images)) | texts.unread
    words = [f"{name}: {why}" for name, why in sorted(unread.items())[:2]]
    if others:
        words.append(f"{', '.join(others[:3])[:200]} beside them is not read for labels")
    return "".join(f"; {each}" for each in words)


def _one_each(source: Source, images: Collection[str], endings: tuple[str, ...]) -> list[str]:
    """Files that are named as an image each, for at least half of the images."""
    stems = {_stem(name) for name in images}
    found = [
        member.name
        for member in source.members
        if member.name.lower().endswith(endings) and _stem(member.name) in stems
    ]
    return found if len(found) * 2 >= len(stems) else []


def _stem(name: str) -> str:
    return composed(name).rpartition("/")[2].rpartition(".")[0]


def _boxes(source: Source, images: Collection[str]) -> str | None:
    """A file that tells where objects are, of those that lie beside each image."""
    names = _one_each(source, images, (".txt", ".xml"))
    said: dict[str, bool] = {}
    for content in source.contents(frozenset(spread(names, _LOOKED_AT))):
        try:
            text = content.read_whole(MIB).decode("utf-8", "replace")
        except LimitError:
            raise
        except DataError:
            continue
        if content.name.lower().endswith(".xml"):
            said[content.name] = "<annotation" in text or "<object" in text
        elif text.strip():  # that of an image without objects is empty
            said[content.name] = all(map(_BOX.match, text.strip().splitlines()))
    found = [name for name, boxes in said.items() if boxes]
    return min(found) if len(found) * 2 > len(said) else None
