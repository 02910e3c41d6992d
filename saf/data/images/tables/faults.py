"""Tables that do not say for sure which images they name, and words for each."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from saf.data.images.tables.index import Index
from saf.data.images.words import Role, alike
from saf.errors import DataError

_NUMBERED = re.compile(r"^(?:.*/)?([^/]*?)(\d{1,15})(?:\.\w{1,5})?$")
_FEWEST = 3  # numbers that may be shifted


def several_images(
    table: str, named: Sequence[str], role: Role | None, index: Index
) -> DataError | None:
    """The fault of a table in which a name fits several images: those that it names in rows."""
    twice = {said: found for said in named if len(found := index.all(said, table, role)) > 1}
    if not twice:
        return None
    said, found = next(iter(twice.items()))
    listed = ", ".join(sorted(found)[:4]) + (", …" if len(found) > 4 else "")
    more = f"; {len(twice) - 1:,} other names fit several, too" if len(twice) > 1 else ""
    return DataError(
        f"{table}: {said[:200]!r} fits {len(found):,} images, {listed[:600]}{more}",
        hint=f"Write the paths of the images into {table[:200]}, or give each a name of its own.",
    )


def shifted(
    table: str, named: Sequence[str], images: Sequence[str | None], index: Index
) -> DataError | None:
    """The fault of a table whose numbers begin and end by as much later, or earlier, than those of
    the images, so that most rows name the neighbour of the image that they may mean."""
    if None not in images:
        return None
    folders = {name.rpartition("/")[0] for name in images if name is not None}
    here = _numbers(name for name in index.names if name.rpartition("/")[0] in folders)
    for prefix, said in _numbers(named).items():
        there = here.get(prefix, set())
        if len(said) < _FEWEST or len(there) < _FEWEST:
            continue
        by = min(said) - min(there)
        if not by or by != max(said) - max(there):
            continue
        if abs(by) == 1 or {number - by for number in said} == there:
            return DataError(
                f"{table} names {prefix}{min(said)} to {prefix}{max(said)}, and the images are "
                f"{prefix}{min(there)} to {prefix}{max(there)}: by number or one by one?",
                hint="Name the images in the table as their files are called. If it does name "
                "them by number, remove the rows of images that are not here, or the images "
                "without a row.",
            )
    return None


def _numbers(names: Iterable[str]) -> dict[str, set[int]]:
    """The numbers at the end of names, by what stands before."""
    found: dict[str, set[int]] = defaultdict(set)
    for name in names:
        if (match := _NUMBERED.match(name.replace("\\", "/"))) is not None:
            found[alike(match[1])].add(int(match[2]))
    return found
