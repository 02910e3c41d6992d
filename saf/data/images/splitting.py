"""Which split each image has: what folders, lists and tables say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from saf.data.formats.format import Candidate, NeedsChoiceError, Question
from saf.data.images.places import Sample, Told
from saf.data.images.tables.columns import says_a_split
from saf.data.images.tables.lists import (
    Published,
    counted,
    distinct,
    numbered,
    published,
    unread_lists,
)
from saf.data.images.tables.table import Table, Texts
from saf.data.images.tree import LAYOUT
from saf.data.images.words import Role, composed, role_of, tokens
from saf.data.sources.source import Source
from saf.errors import DataError

FOLDERS = "folders"
NAMES = "names"
MAX_CANDIDATES = 12
_HOLDOUT = Candidate("holdout", "a fifth of each class, always the same, is for testing")


@dataclass
class Splitter:
    """Divides the images of one source; `said` is the setting `split`."""

    source: Source
    texts: Texts
    told: Told
    said: str | None
    folds: Sequence[Published] = ()

    def split(
        self, samples: dict[str, Sample], tables: Sequence[Table], *, of_folders: bool
    ) -> dict[str, Sample]:
        """The samples with their splits, of which folders may have said some. Raises
        NeedsChoiceError where the split is open, DataError where nothing says that asked for."""
        if self.said == "holdout":
            return {name: (None, c, key) for name, (_, c, key) in samples.items()}
        roles = {name: role for name, (role, _, _) in samples.items()}
        by_folders = bool(set(roles.values()) - {None, "train"})
        if self.said == FOLDERS and not by_folders:
            raise DataError("no folders say which samples are for testing", hint=LAYOUT)
        ways = [] if self.said == FOLDERS else self._published(samples, tables)
        if self.said not in (None, FOLDERS):
            wanted = composed(self.said)
            asked = [
                way
                for way in ways
                if wanted in (said := composed(way.value), said.rpartition("/")[2])
            ]
            if not asked:
                known = ", ".join(repr(way.value) for way in ways) or "none is found"
                raise DataError(
                    f"split: {self.said!r} lists no training and test images",
                    hint=f"Say 'holdout' or a file inside that lists them: {known}.",
                )
            return self._listed(samples, asked[0])
        if by_folders:
            for way in ways:
                if name := way.contradicts(roles):
                    raise self._split_question(
                        f"The folders and {way.value} tell different splits, such as of {name}",
                        [way],
                        Candidate(FOLDERS, f"{counted(roles)}, as the folders say"),
                    )
            return self._with_a_split(samples)
        if (fault := self._faulty()) is not None:
            self._ask_for_holdout(f"{fault}.", ways)
        if len(ways) == 1 and ways[0].sure:
            return self._listed(samples, ways[0])
        if not ways:
            if not of_folders and (unread := self._unread_splits()):
                listed = ", ".join(unread[:3])[:300]
                self._ask_for_holdout(f"{listed} may hold a published split and is not read.")
            return samples
        if len(ways) > 1:
            asks = "Several splits are published with the images; which one is it to be?"
        else:
            count = sum(name in ways[0].listed for name in samples)
            asks = f"Which images are for testing? {ways[0].value} lists {count:,} of the "
            asks += f"{len(samples):,} images."
            if ways[0].value == NAMES:
                asks = "Which images are for testing? The names of the files say a split."
        every_sure = all(way.sure for way in ways)
        raise self._split_question(asks, ways, None if every_sure else _HOLDOUT)

    def _published(self, samples: Mapping[str, Sample], tables: Sequence[Table]) -> list[Published]:
        if (cub := numbered(self.source, tables)) is not None:
            return [cub]
        found = [*published(tables, samples), *self.folds]
        if not found and all(role is None for role, _, _ in samples.values()):
            return _by_file_names(samples)
        return distinct(found)

    def _split_question(
        self, asks: str, ways: Sequence[Published], other: Candidate | None
    ) -> NeedsChoiceError:
        candidates = [Candidate(way.value, way.words()) for way in ways[:MAX_CANDIDATES]]
        if other is not None:
            candidates.append(other)
        return NeedsChoiceError(self.source.label, (Question("split", asks, tuple(candidates)),))

    def _listed(self, samples: Mapping[str, Sample], way: Published) -> dict[str, Sample]:
        """The samples that a published split lists, with their splits."""
        self.told.decide("split", way.value, way.words())
        unlisted = [name for name in samples if name not in way.roles]
        self.told.leave_out(dict.fromkeys(unlisted, f"it is not listed by {way.value}"))
        return {
            name: (way.roles[name], *samples[name][1:]) for name in samples if name in way.roles
        }

    def _with_a_split(self, samples: Mapping[str, Sample]) -> dict[str, Sample]:
        """The samples of which a folder says the split, where folders say it of others."""
        without = [name for name, (role, _, _) in samples.items() if role is None]
        self.told.leave_out(dict.fromkeys(without, "it lies in no folder of a split, as others do"))
        return {name: sample for name, sample in samples.items() if sample[0] is not None}

    def _unread_splits(self) -> list[str]:
        """Files that may hold a published split and are not read."""
        words = {"train", "test", "val", "split", "splits", "partition"}
        tables = [
            name
            for name in self.texts.unread
            if words & set(tokens(name.rpartition("/")[2].rpartition(".")[0]))
        ]
        return [*unread_lists(self.source), *tables]

    def _faulty(self) -> DataError | None:
        """The fault of a table that says splits and not for sure of which images."""
        for table in self.texts.faulty:
            if table.role is not None or any(map(says_a_split, table.columns)):
                return table.fault
        return None

    def _ask_for_holdout(self, why: str, ways: Sequence[Published] = ()) -> None:
        asks = (
            f"Which images are for testing? {why} Put the split into train/ and test/ folders, or "
            "into train.txt and test.txt with the paths of images, or hold out a fifth of each "
            "class."
        )
        raise self._split_question(asks, ways, _HOLDOUT)


def _by_file_names(samples: Mapping[str, Sample]) -> list[Published]:
    """The split that the names of all files say, `cat/train_0.png` and `cat/test_0.png`, and not
    those of classes called train and test."""
    roles: dict[str, Role] = {}
    for name in samples:
        role, _ = role_of(name.rpartition("/")[2].rpartition(".")[0])
        if role is None:
            return []
        roles[name] = role
    if "test" not in roles.values():
        roles = {name: "test" if role == "val" else role for name, role in roles.items()}
    trained = {samples[name][1] for name, role in roles.items() if role == "train"}
    tested = {samples[name][1] for name, role in roles.items() if role == "test"}
    if not tested or not tested <= trained:
        return []
    return [Published(NAMES, roles, "as the names of the files say", roles, sure=False)]
