"""Names of classes that are spelled in several ways: which are one class, which a question."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import Field

from saf.data.dataset import Decision
from saf.data.formats.format import Candidate, NeedsChoiceError, Question
from saf.data.images.words import composed

Case = Literal["ignore", "keep"]
ClassCase = Annotated[
    Case | None, Field(description="'ignore': cat and Cat are one class; 'keep': they are two")
]
"""What names of classes are that differ in case alone; None: a question, but for letters."""
_SHOWN = 5  # pairs that words name


def plain(name: str) -> str:
    """A name in one Unicode form, with single spaces and none at its ends."""
    return " ".join(composed(name).split()) or name


def one_spelling(
    label: str, trained: Mapping[str, int], others: Iterable[str] = (), case: Case | None = None
) -> tuple[dict[str, str], list[Decision]]:
    """The name of its class by each name, and what was decided. `trained` are the names in
    training, with how many samples each has; `others` those of other splits.

    Names that differ in Unicode form or spaces are one class. So are those that differ in case
    between splits. In one split these are two classes where all are single letters, and else what
    `case` says. Raises NeedsChoiceError, in the name of `label`, where it says nothing."""
    counts: dict[str, int] = defaultdict(int)
    for name, count in trained.items():
        counts[plain(name)] += count
    by_key: dict[str, list[str]] = defaultdict(list)
    for name in sorted(counts):
        by_key[name.casefold()].append(name)
    twins = [names for names in by_key.values() if len(names) > 1]
    told = []
    if case is None and any(len(name) > 1 for names in twins for name in names):
        raise _question(label, [names for names in twins if len(names[0]) > 1], counts)
    called = {name: name for name in counts}
    if case == "ignore":
        for names in twins:
            common = max(names, key=lambda name: (counts[name], name))
            called |= dict.fromkeys(names, common)
    elif twins:
        listed = ", ".join(" and ".join(names) for names in twins[:_SHOWN])
        why = f"names that differ in case alone within one split are classes: {listed[:500]}"
        told.append(Decision("class_case" if case else "", case or "case of classes", why))
    final: dict[str, str] = {}
    for raw in (*trained, *others):
        name = plain(raw)
        same = {called[each] for each in by_key.get(name.casefold(), [])}
        final[raw] = called.get(name) or (same.pop() if len(same) == 1 else name)
    if changed := sorted(raw for raw in final if final[raw] != raw):
        listed = ", ".join(f"{raw!a} is {final[raw]!r}" for raw in changed[:_SHOWN])
        within = ", as was said," if case == "ignore" and twins else " between splits"
        why = (
            "names of classes that differ in Unicode form, in spaces, or"
            f"{within} in case, are one: {listed[:500]}"
        )
        told.insert(0, Decision("", "one name a class", why))
    return final, told


def _question(label: str, twins: list[list[str]], counts: Mapping[str, int]) -> NeedsChoiceError:
    listed = ", ".join(
        " and ".join(f"{name} ({counts[name]:,})" for name in names) for names in twins[:_SHOWN]
    )
    more = ", …" if len(twins) > _SHOWN else ""
    asks = f"Are names of classes that differ in case alone one class? {listed[:500]}{more}."
    ways = (
        Candidate("ignore", "one class each, called as most of its samples are"),
        Candidate("keep", "classes of their own"),
    )
    return NeedsChoiceError(label, (Question("class_case", asks, ways),))
