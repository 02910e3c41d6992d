"""Images that are no samples of their own: masks beside images, and trees of folders packed twice.

Kaggle's chest X-rays come as `chest_xray/train/…` and again as `chest_xray/chest_xray/train/…`, its
traffic signs as `Train/…` and `train/…`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping

from saf.data.images.sheet import spread
from saf.data.images.words import composed, is_no_class, masked
from saf.data.sources.source import Source
from saf.data.sources.stream import BLOCK, Content
from saf.errors import DataError

_COMPARED = 32


def without_repeats(source: Source, sizes: Mapping[str, int]) -> tuple[list[str], dict[str, str]]:
    """The images that are samples, in the order of their names, and why others are left out.
    `sizes` are bytes by name. Raises DataError where a tree is there twice but for some images."""
    left_out = _masks(sizes)
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in sizes:
        if name not in left_out:
            groups[_canonical(name)].append(name)
    pairs = {}
    for same in groups.values():
        if len(same) > 1:
            first, *others = sorted(same, key=lambda name: (name.count("/"), name))
            for other in others:
                if sizes[other] == sizes[first] and _differ_above(first, other):
                    pairs[other] = first
    twins = equal(source, pairs)
    trees = {other: _repeated(other, first) for other, first in pairs.items()}
    again = {trees[other] for other in twins}
    for other, first in sorted(pairs.items()):
        if other not in twins and trees[other] in again:
            raise DataError(
                f"{trees[other]}/ holds the same images again, but {other} differs from {first}",
                hint=f"Leave out {trees[other]}/, or the other folder.",
            )
    left_out |= {other: f"{trees[other]}/ holds the same images again" for other in twins}
    return [name for name in sorted(sizes) if name not in left_out], left_out


def _masks(sizes: Mapping[str, int]) -> dict[str, str]:
    stems = {composed(name).rpartition(".")[0] for name in sizes}
    found = {}
    for name in sizes:
        folder, _, last = composed(name).rpartition(".")[0].rpartition("/")
        if (of := masked(last)) and (f"{folder}/{of}" if folder else of) in stems:
            found[name] = "masks of the images beside them are no samples"
    return found


def _canonical(name: str) -> tuple[str, ...]:
    """The path in one Unicode form, without the case of folders and without folders in a folder of
    their own name."""
    parts: list[str] = []
    *folders, last = composed(name).split("/")
    for folder in folders:
        if not parts or parts[-1] != folder.casefold():
            parts.append(folder.casefold())
    return (*parts, last)


def _differ_above(one: str, other: str) -> bool:
    """Whether the folders differ elsewhere than in that of the class: letters of both cases have a
    folder each."""
    first, second = one.split("/")[:-1], other.split("/")[:-1]
    if len(first) != len(second) or first[:-1] != second[:-1]:
        return True
    return first != second and is_no_class(first[-1])


def _repeated(other: str, first: str) -> str:
    """The folder that `other` lies in and `first` does not, else that at the top."""
    there, here = other.split("/")[:-1], first.split("/")[:-1]
    at = next((i for i, (a, b) in enumerate(zip(there, here, strict=False)) if a != b), len(here))
    return "/".join(there[: at + 1]) or other.partition("/")[0]


def equal(source: Source, pairs: Mapping[str, str]) -> dict[str, str]:
    """The pairs of files of the same bytes. Where of some, from all over, none has the same, no
    others are looked at."""
    chosen = spread(sorted(pairs), _COMPARED)
    for names in (chosen, list(pairs)):
        wanted = frozenset(names) | {pairs[name] for name in names}
        digests = {each.name: _digest(each) for each in source.contents(wanted)}
        found = {name: pairs[name] for name in names if digests[name] == digests[pairs[name]]}
        if not found:
            return {}
    return found


def _digest(content: Content) -> bytes:
    digest = hashlib.sha256()
    while block := content.read(BLOCK):
        digest.update(block)
    return digest.digest()
