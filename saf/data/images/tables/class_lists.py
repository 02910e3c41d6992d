"""Lists of the names of classes: `classes.txt`, `class_names.json`, `labels.txt` and their like."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from saf.data.dataset import MAX_CLASS_NAME
from saf.data.images.words import alike, composed, joined
from saf.data.sources.source import Source
from saf.errors import DataError

_CALLED = frozenset(
    {"classes", "class", "classnames", "classname", "classlist", "labels", "labelnames"}
    | {"labelmap", "categories", "names", "listclasses", "classindices", "classtoidx"}
    | {"idxtoclass", "classtoindex", "indextoclass", "labelid", "idlabel", "cattoname"}
    | {"activitylabels", "synsetwords", "synsetmapping", "locsynsetmapping"}
)
_ENDINGS = (".txt", ".names", ".lst", ".json")
_MAX_LIST = 2**20  # bytes
_MAX_LISTS = 8
_NUMBER_FIRST = re.compile(r"^(\d{1,9})[\s,;:=]+(\S.*)$")
_SYNSET = re.compile(r"^(n\d{8})[\s,:]+(\S.*)$")
"""A line of ImageNet's lists: `n01440764 tench, Tinca tinca`."""
_NUMBER_LAST = re.compile(r"^(.*[^\s,;:=])[\s,;:=]+(\d{1,9})$")


@dataclass(frozen=True)
class ClassNames:
    """The names of classes in order, and what each class that is there is called."""

    order: tuple[str, ...]
    name_of: dict[str, str]


def is_class_list(file: str) -> bool:
    """Whether a file is named as lists of classes are."""
    stem, dot, ending = file.rpartition("/")[2].rpartition(".")
    return f"{dot}{ending}".lower() in _ENDINGS and joined(stem) in _CALLED


def lists_of(source: Source) -> dict[str, str]:
    """The texts in a source that are named as lists of classes are, by file."""
    names = [
        member.name
        for member in source.members
        if is_class_list(member.name) and member.size <= _MAX_LIST
    ]
    return {
        content.name: content.read_whole(_MAX_LIST).decode("utf-8-sig", "replace")
        for content in (source.contents(names[:_MAX_LISTS]) if names else ())
    }


def class_names(text: str, classes: Collection[str]) -> ClassNames | None:
    """What a list says of classes: their order, if it names all of them, else the names of those
    that are numbers, counted from 0, or from 1 where as many as there are names, or identifiers of
    WordNet. None where it fits none of them."""
    lines = _of_json(text)
    if lines == []:
        return None
    if lines is None:
        lines = [line.strip().strip("'\"").strip() for line in text.splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
    if (of_synsets := _of_synsets(lines, classes)) is not None:
        return of_synsets
    numbered = _numbered(lines)
    for names in ([numbered[n] for n in sorted(numbered)], lines):
        place = places_in(names)
        if all(alike(c) in place for c in classes) and not _repeated(names):
            order = sorted(classes, key=lambda c: (place.get(c, place[alike(c)]), c))
            return ClassNames(tuple(order), {c: c for c in classes})
    if not all(re.fullmatch(r"\d{1,9}", c) for c in classes):
        return None
    numbers = {c: int(c) for c in classes}
    lowest, highest = min(numbers.values()), max(numbers.values())
    if not numbered:
        if _repeated(lines):
            return None
        if lowest >= 1 and highest < len(lines):
            return None  # counted from 0 or from 1?
        numbered = dict(enumerate(lines, 1 if highest == len(lines) else 0))
    if not all(number in numbered for number in numbers.values()):
        return None
    found = {c: numbered[n] for c, n in sorted(numbers.items(), key=lambda pair: pair[1])}
    if len(set(map(alike, found.values()))) < len(found):
        return None
    return ClassNames(tuple(found.values()), found)


def _of_synsets(lines: Sequence[str], classes: Collection[str]) -> ClassNames | None:
    """Names by identifiers of WordNet, `n01440764`, where all classes are such; of names that
    several have, each with its identifier behind it."""
    matches = [match for line in lines if (match := _SYNSET.match(line)) is not None]
    said = {match[1]: match[2].strip() for match in matches if match[1] in classes}
    if not classes or set(said) != set(classes):
        return None
    often = Counter(map(alike, said.values()))
    found = {c: f"{n} ({c})" if often[alike(n)] > 1 else n for c, n in said.items()}
    found = {c: name if len(name) <= MAX_CLASS_NAME else c for c, name in found.items()}
    return ClassNames(tuple(found.values()), found)


def places_in(names: Sequence[str]) -> dict[str, int]:
    """The place of each name in a list, as it is spelled and as names that are alike."""
    place = {alike(name): index for index, name in reversed([*enumerate(names)])}
    return place | {name: index for index, name in enumerate(names)}


def _repeated(names: list[str]) -> bool:
    """Whether names are those of samples; of a thousand classes two may have one name."""
    return len(set(map(composed, names))) < 0.9 * len(names)


def _of_json(text: str) -> list[str] | None:
    """The lines that JSON stands for: of a list of names, of names by number, or of numbers by
    name, perhaps under one key. None where it is no JSON, no lines where it is of another kind."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return [] if text.lstrip().startswith(("{", "[")) else None
    if not isinstance(said, list | dict):
        return None
    if isinstance(said, dict) and len(said) == 1:
        (only,) = said.values()
        said = only if isinstance(only, list | dict) else said
    if isinstance(said, list) and all(isinstance(name, str) for name in said):
        return [line for name in said if (line := " ".join(name.split()))]
    if not isinstance(said, dict):
        return []
    pairs = list(said.items())
    if not all(isinstance(value, str) and re.fullmatch(r"\d{1,9}", key) for key, value in pairs):
        if not all(type(value) is int and 0 <= value < 10**9 for _, value in pairs):
            return []
        pairs = [(str(number), name) for name, number in pairs]
    if len({int(number) for number, _ in pairs}) < len(pairs):
        return []
    return [f"{int(number)} {' '.join(name.split())}" for number, name in pairs]


def _numbered(lines: list[str]) -> dict[int, str]:
    """Names by their numbers, where each line has one before or behind the name."""
    for pattern, number, name in ((_NUMBER_FIRST, 1, 2), (_NUMBER_LAST, 2, 1)):
        matches = [match for line in lines if (match := pattern.match(line)) is not None]
        found = {int(match[number]): match[name].strip("'\"") for match in matches}
        if len(found) == len(lines) > 0:
            return found
    return {}


def fitting(
    lists: Mapping[str, str], classes: Collection[str], *, of_folders: bool = False
) -> tuple[ClassNames | None, list[tuple[str, str]]]:
    """What the lists, texts by the names of files, say of classes, and for each file how it is used
    or why not, in words. Raises DataError where labels are numbers, and a list has the same numbers
    in another order: names of the labels 0, 1, 2, … or labels themselves? `of_folders` says that
    they are names of folders, which keep them."""
    found = {file: class_names(text, classes) for file, text in sorted(lists.items())}
    fit = [each for each in found.values() if each is not None]
    for file, each in found.items():
        if each is not None and not of_folders and _is_turned(each):
            raise _turned(file, each)
    if any(each != fit[0] for each in fit):
        return None, [
            (f"not used: {', '.join(sorted(lists))}", "they say different names of classes")
        ]
    told = []
    listed = ", ".join(sorted(classes)[:6])
    for file, each in found.items():
        if each is None:
            told.append((f"not used: {file}", f"it does not name the classes, {listed[:300]}"))
        else:
            what = "names" if each.name_of != {c: c for c in each.name_of} else "order"
            told.append((f"{what} of classes", f"as {file} lists them"))
    return (fit[0] if fit else None), told


def _is_turned(found: ClassNames) -> bool:
    """Whether the classes are numbers that a list has in another order than theirs."""
    if any(
        re.fullmatch(r"\d{1,9}", name) is None or found.name_of[name] != name
        for name in found.name_of
    ):
        return False
    numbers = [int(name) for name in found.order]
    return numbers != sorted(numbers)


def _turned(file: str, found: ClassNames) -> DataError:
    listed = ", ".join(found.order[:6]) + (", …" if len(found.order) > 6 else "")
    first, *_ = sorted(found.order, key=int)
    return DataError(
        f"{file} lists the classes {listed}, and the labels are the same numbers: is the label "
        f"{first} the class {first}, or is it called {found.order[0]}, which is listed first?",
        hint=f"Leave {file} out where the labels are the classes; else write names into it that "
        "are no numbers, in the order of the labels.",
    )
