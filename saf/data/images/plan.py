"""Which class and split each image has: what folders, tables and file names say together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from saf.data.dataset import Decision
from saf.data.formats.format import Candidate, NeedsChoiceError, Question
from saf.data.images.beside import detection, no_images, unread_labels
from saf.data.images.decode import decode, is_image_name
from saf.data.images.places import Plan, Sample, assembled
from saf.data.images.repeats import without_repeats
from saf.data.images.sheet import COLUMNS, ROWS, sheet, spread
from saf.data.images.survey import Read
from saf.data.images.tables.known import of_known
from saf.data.images.tables.labels import Labelling, contradicting, labellings, of_names
from saf.data.images.tables.lists import Published, counted, numbered, published, unread_lists
from saf.data.images.tables.table import Index, Table, Texts, path_roles
from saf.data.images.tree import LAYOUT, Structure, structure, tree
from saf.data.images.words import composed, in_order, tokens
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.errors import DataError

FOLDERS, INNER, NAMES = "folders", "inner folders", "names"
WITHOUT = "folders without "
"""Followed by names of folders, with commas between them, that are no classes."""
MAX_CANDIDATES = 12


@dataclass
class Planner:
    """Plans the images of one source; `labels_from` and `split` are the settings of that name."""

    source: Source
    read: Read
    limits: Limits
    labels_from: str | None
    split: str | None
    decisions: list[Decision] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    _read: tuple[frozenset[str], list[Table]] = (frozenset(), [])

    def plan(self) -> Plan:
        """The plan. Raises DataError, and NeedsChoiceError with candidates and pictures where
        classes or splits can be read in more than one way."""
        sizes = {m.name: m.size for m in self.source.members if is_image_name(m.name)}
        if not sizes:
            raise DataError(f"{self.source.label} holds no image files", hint=LAYOUT)
        images, left_out = without_repeats(self.source, sizes)
        self._leave_out(left_out)
        self.images = images
        index = Index(images)
        self.texts = Texts(self.source, index)
        self._read = frozenset(images), self.texts.tables(index)
        said = self.labels_from or ""
        without = said.removeprefix(WITHOUT).split(",") if said.startswith(WITHOUT) else []
        found = structure(tree(images), innermost=said == INNER, total=len(images), without=without)
        samples = self._samples(found)
        for words in found.told if found.samples else ():
            self._decide("", "splits by folders", words)
        samples = self._split(samples, found)
        plan = assembled(self.source.label, samples, found.splits)
        if others := no_images(self.source, plan.places):
            self.skipped |= dict.fromkeys(others, "it is named as no image is")
            why = f"{len(others):,} files, such as {others[0]}, are named as no images are"
            self._decide("", "files left out", why)
        skipped = tuple(f"{name}: {self.skipped[name]}" for name in sorted(self.skipped))
        decisions = (*self.decisions, *plan.decisions)
        return replace(plan, decisions=decisions, skipped=skipped)

    # --- classes ---------------------------------------------------------------------------------

    def _samples(self, found: Structure) -> dict[str, Sample]:
        match self.labels_from:
            case None:
                if found.doubts:
                    return self._of_tables_or_names(found)
                ways = self._folder_candidates(found) if found.deep else []
                folders = {name: c for name, (_, c, _) in found.samples.items()}
                if (other := contradicting(self._tables(folders), folders)) is not None:
                    ways = ways or [self._folders_candidate(FOLDERS, found)]
                    raise self._folders_question(
                        f"Which classes have the images? {other.value} says others than the "
                        "folders do.",
                        [self._candidate(other), *ways],
                    )
                if len(ways) > 1:
                    raise self._folders_question(
                        "Which folders are the classes (train/<class>/…)? They hold further "
                        "folders.",
                        ways,
                    )
                return self._of_folders(found)
            case "folders" | "inner folders":
                if not found.samples:
                    raise DataError(f"{found.doubts or 'no folder says a class'}", hint=LAYOUT)
                return self._of_folders(found)
            case "names":
                labelling = of_names(self._trained(), self.images)
                if labelling is None:
                    raise DataError("the names of the files say no classes", hint=LAYOUT)
                return self._of(labelling)
            case said if said.startswith(WITHOUT):
                return self._of_folders(found)
            case said:
                return self._of_file(said)

    def _of_folders(self, found: Structure) -> dict[str, Sample]:
        self._leave_out(found.strays)
        samples: dict[str, Sample] = dict(found.samples)
        if found.unlabelled:
            classes = found.classes
            class_of = {name: class_name for name, (_, class_name, _) in samples.items()}
            known = of_known(
                self._tables(found.unlabelled),
                found.unlabelled,
                classes,
                self._tables(class_of),
                class_of,
            )
            if known.label:
                self._decide(
                    "labels_from",
                    known.value,
                    f"of {len(known.label):,} images that no folder of a class holds, {known.why}",
                )
            for name, role in found.unlabelled.items():
                if name in known.label:
                    samples[name] = (role, known.label[name], name)
            self._leave_out_unlabelled(set(found.unlabelled) - known.label.keys())
        return samples

    def _of_tables_or_names(self, found: Structure) -> dict[str, Sample]:
        if words := detection(self.source, self.images, found.doubts):
            raise DataError(
                words,
                hint=f"Cut the objects out, and sort them into a folder for each class. {LAYOUT}",
            )
        ways = labellings(self._tables(self.images))
        if len(ways) == 1 and ways[0].plain and (ways[0].sure or ways[0].only):
            self._decide("labels_from", ways[0].value, f"{found.doubts}; {ways[0].words()}")
            return self._of(ways[0])
        if not ways and (named := of_names(self._trained(), self.images)) is not None:
            ways = [named]
        candidates = [self._candidate(each) for each in ways[:MAX_CANDIDATES]]
        if not ways:
            candidates = self._folder_candidates(found)
        if not candidates:
            raise DataError(
                f"{self.source.label} says no classes: {found.doubts}, no table (.csv, .tsv, .txt) "
                f"labels the images{unread_labels(self.source, self.images, self.texts)}",
                hint=f"{LAYOUT} Or add a labels.csv with the columns file_name and label"
                + (", or say labels_from: 'folders'." if len(found.classes) > 1 else "."),
            )
        asks = f"Which classes have the images? {found.doubts[0].upper()}{found.doubts[1:]}."
        raise NeedsChoiceError(
            self.source.label, (Question("labels_from", asks, tuple(candidates)),)
        )

    def _of_file(self, said: str) -> dict[str, Sample]:
        said = composed(said)
        file, column = said, None
        members = [composed(member.name) for member in self.source.members]
        names = {*members, *(name.rpartition("/")[2] for name in members)}
        if file not in names and ":" in said:
            file, _, column = said.rpartition(":")
        if file not in names:
            raise DataError(
                f"labels_from: {self.source.label} holds no file {file!r}",
                hint=f"Say {FOLDERS!r}, {NAMES!r}, or a file inside: 'labels.csv:column'.",
            )
        index = Index(self.images)
        there = self.texts.only(file, index)
        if not there:
            raise DataError(
                f"labels_from: {file} names no images",
                hint="A column has to hold names or paths of image files, or these without ending.",
            )
        alike_tables = [
            t
            for t in self.texts.tables(index)
            if t.core == there[0].core and t.name not in {table.name for table in there}
        ]
        ways = labellings([*there, *alike_tables], column)
        if len(ways) != 1:
            columns = ", ".join(there[0].columns[:40])
            raise DataError(
                f"labels_from: which column of {file} holds the classes? It has {columns[:800]}",
                hint=f"Say labels_from: '{file}:column'.",
            )
        return self._of(ways[0])

    def _of(self, labelling: Labelling) -> dict[str, Sample]:
        said = {name: path_roles(name) for name in labelling.label}
        roles = {name: min(role) for name, role in said.items() if len(role) == 1}
        if len(set(roles.values())) < 2 or "train" not in roles.values():
            roles = {}
        self._leave_out_unlabelled(set(self.images) - labelling.label.keys())
        return {
            name: (roles.get(name), class_name, name)
            for name, class_name in labelling.label.items()
        }

    def _tables(self, images: Iterable[str]) -> list[Table]:
        """The tables that name some of these images; those of the last call are kept."""
        wanted = frozenset(images)
        if wanted != self._read[0]:
            self._read = wanted, self.texts.tables(Index(sorted(wanted)))
        return self._read[1]

    def _trained(self) -> list[str]:
        """The images that are not in a folder of validation or test images."""
        return [n for n in self.images if not path_roles(n) & {"val", "test"}] or list(self.images)

    # --- questions -------------------------------------------------------------------------------

    def _folders_question(self, asks: str, ways: Sequence[Candidate]) -> NeedsChoiceError:
        return NeedsChoiceError(self.source.label, (Question("labels_from", asks, tuple(ways)),))

    def _folder_candidates(self, found: Structure) -> list[Candidate]:
        """The ways in which folders may be the classes, without those of which all are named as no
        classes are."""
        candidates = []
        if found.may_be_classes:
            candidates.append(self._folders_candidate(FOLDERS, found))
            if found.odd:
                candidates.append(self._without_candidate(found))
        inner = structure(tree(self.images), innermost=True, total=len(self.images))
        if inner.classes != found.classes and inner.may_be_classes:
            candidates.append(self._folders_candidate(INNER, inner))
        return candidates

    def _folders_candidate(self, value: str, found: Structure) -> Candidate:
        label = {name: class_name for name, (_, class_name, _) in found.samples.items()}
        where = "outer" if value == FOLDERS and found.deep else "inner" if value == INNER else ""
        return self._candidate(
            Labelling(value, label, f"from the {where} folders".replace("  ", " "))
        )

    def _without_candidate(self, found: Structure) -> Candidate:
        """The folders without those that are named as no classes are."""
        odd = [name for name in found.odd if name in found.classes]
        label = {n: c for n, (_, c, _) in found.samples.items() if c not in odd}
        return self._candidate(
            Labelling(f"{WITHOUT}{', '.join(odd)}", label, "from the other folders")
        )

    def _candidate(self, way: Labelling) -> Candidate:
        return Candidate(way.value, way.words(), self._picture(way.label))

    def _picture(self, label: Mapping[str, str]) -> bytes:
        by_class: dict[str, list[str]] = defaultdict(list)
        for name in sorted(label):
            by_class[label[name]].append(name)
        shown = {c: spread(by_class[c], COLUMNS) for c in in_order(by_class)[:ROWS]}
        wanted = frozenset(name for names in shown.values() for name in names)
        pixels = {}
        for name, load in self.read(wanted):
            try:
                pixels[name] = decode(name, load(), size=(64, 64), limits=self.limits)
            except DataError:
                continue  # told later, with all others
        rows = [(c, [pixels[n] for n in names if n in pixels]) for c, names in shown.items()]
        return sheet(rows)

    # --- splits ----------------------------------------------------------------------------------

    def _split(self, samples: dict[str, Sample], found: Structure) -> dict[str, Sample]:
        if self.split == "holdout":
            return {name: (None, c, key) for name, (_, c, key) in samples.items()}
        roles = {name: role for name, (role, _, _) in samples.items()}
        by_folders = bool(set(roles.values()) - {None, "train"})
        if self.split == FOLDERS and not by_folders:
            raise DataError("no folders say which samples are for testing", hint=LAYOUT)
        ways = [] if self.split == FOLDERS else self._published(samples)
        if self.split not in (None, FOLDERS):
            wanted = composed(self.split)
            asked = [
                way
                for way in ways
                if wanted in (said := composed(way.value), said.rpartition("/")[2])
            ]
            if not asked:
                known = ", ".join(repr(way.value) for way in ways) or "none is found"
                raise DataError(
                    f"split: {self.split!r} lists no training and test images",
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
        if len(ways) == 1 and ways[0].sure:
            return self._listed(samples, ways[0])
        if not ways:
            if not found.splits and (unread := self._unread_splits()):
                self._ask_for_holdout(unread)
            return samples
        if len(ways) > 1:
            asks = "Several splits are published with the images; which one is it to be?"
        else:
            count = sum(name in ways[0].listed for name in samples)
            asks = (
                f"Which images are for testing? {ways[0].value} lists {count:,} of the "
                f"{len(samples):,} images."
            )
        holdout = Candidate("holdout", "a fifth of each class, always the same, is for testing")
        every_sure = all(way.sure for way in ways)
        raise self._split_question(asks, ways, None if every_sure else holdout)

    def _published(self, samples: Mapping[str, Sample]) -> list[Published]:
        there = self._tables(samples)
        if (cub := numbered(self.source, there)) is not None:
            return [cub]
        return published(there, samples)

    def _split_question(
        self, asks: str, ways: Sequence[Published], other: Candidate | None
    ) -> NeedsChoiceError:
        candidates = [Candidate(way.value, way.words()) for way in ways[:MAX_CANDIDATES]]
        if other is not None:
            candidates.append(other)
        return NeedsChoiceError(self.source.label, (Question("split", asks, tuple(candidates)),))

    def _listed(self, samples: Mapping[str, Sample], way: Published) -> dict[str, Sample]:
        """The samples that a published split lists, with their splits."""
        self._decide("split", way.value, way.words())
        unlisted = [name for name in samples if name not in way.roles]
        self._leave_out(dict.fromkeys(unlisted, f"it is not listed by {way.value}"))
        return {
            name: (way.roles[name], *samples[name][1:]) for name in samples if name in way.roles
        }

    def _with_a_split(self, samples: Mapping[str, Sample]) -> dict[str, Sample]:
        """The samples of which a folder says the split, where folders say it of others."""
        without = [name for name, (role, _, _) in samples.items() if role is None]
        self._leave_out(dict.fromkeys(without, "it lies in no folder of a split, as others do"))
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

    def _ask_for_holdout(self, unread: Sequence[str]) -> None:
        listed = ", ".join(unread[:3])[:300]
        asks = (
            f"Which images are for testing? {listed} may hold a published split and is not read. "
            "Put it into train/ and test/ folders, or into train.txt and test.txt, or hold out a "
            "fifth of each class."
        )
        candidate = Candidate("holdout", "a fifth of each class, always the same, is for testing")
        raise NeedsChoiceError(self.source.label, (Question("split", asks, (candidate,)),))

    def _decide(self, setting: str, value: str, why: str) -> None:
        self.decisions.append(Decision(setting, value, why))

    def _leave_out(self, reasons: Mapping[str, str]) -> None:
        self.skipped |= reasons
        for reason, count in Counter(reasons.values()).items():
            if count:
                self._decide("", "left out", f"{count:,} images: {reason}")

    def _leave_out_unlabelled(self, names: set[str]) -> None:
        def place(name: str) -> str:
            return name.rpartition("/")[0] or "the top"

        self._leave_out(
            {n: f"nothing says the class of those in {place(n)}" for n in sorted(names)}
        )
