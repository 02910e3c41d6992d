"""Which class and split each image has: what folders, tables and file names say together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from saf.data.formats.format import Candidate, NeedsChoiceError, Question
from saf.data.formats.spelling import Case
from saf.data.images.beside import detection, no_images, unread_labels
from saf.data.images.decode import decode, is_image_name
from saf.data.images.folds import chosen_fold, folds_of
from saf.data.images.places import Plan, Sample, Told, assembled
from saf.data.images.repeats import without_repeats
from saf.data.images.sheet import COLUMNS, ROWS, sheet, spread
from saf.data.images.splitting import FOLDERS, Splitter
from saf.data.images.survey import Read
from saf.data.images.tables.class_lists import fitting
from saf.data.images.tables.index import Index, path_roles
from saf.data.images.tables.known import of_known
from saf.data.images.tables.labels import (
    Labelling,
    contradicting,
    labellings,
    of_names,
    says_others,
)
from saf.data.images.tables.lists import Published
from saf.data.images.tables.table import Table, Texts
from saf.data.images.tree import LAYOUT, Structure, structure, tree
from saf.data.images.words import composed, in_order
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.errors import DataError

INNER, NAMES = "inner folders", "names"
WITHOUT = "folders without "
"""Followed by names of folders, with commas between them, that are no classes."""
MAX_CANDIDATES = 12


@dataclass
class Planner:
    """Plans the images of one source; `labels_from` and `split` are the settings of that name,
    `case` is `class_case`."""

    source: Source
    read: Read
    limits: Limits
    labels_from: str | None
    split: str | None
    case: Case | None = None
    told: Told = field(default_factory=Told)
    _read: tuple[frozenset[str], list[Table]] = (frozenset(), [])

    def plan(self) -> Plan:
        """The plan. Raises DataError, and NeedsChoiceError with candidates and pictures where
        classes or splits can be read in more than one way."""
        sizes = {m.name: m.size for m in self.source.members if is_image_name(m.name)}
        if not sizes:
            raise DataError(f"{self.source.label} holds no image files", hint=LAYOUT)
        images, left_out = without_repeats(self.source, sizes)
        self.told.leave_out(left_out)
        images, split, parts = self._of_folds(sizes, images)
        self.images = images
        index = Index(images)
        self.texts = Texts(self.source, index)
        self._read = frozenset(images), self.texts.tables(index)
        said = self.labels_from or ""
        without = said.removeprefix(WITHOUT).split(",") if said.startswith(WITHOUT) else []
        found = self._structure(images, innermost=said == INNER, without=without)
        samples = self._samples(found)
        for words in found.told if found.samples else ():
            self.told.decide("", "splits by folders", words)
        splitter = Splitter(self.source, self.texts, self.told, split, parts)
        samples = splitter.split(samples, self._tables(samples), of_folders=found.splits)
        for table in self.texts.faulty:
            self.told.decide("", f"not used: {table.name}", str(table.fault))
        samples, order = self._named(samples, index)
        plan = assembled(self.source.label, samples, found.splits, order, self.case)
        if others := no_images(self.source, plan.places):
            self.told.skipped |= dict.fromkeys(others, "it is named as no image is")
            why = f"{len(others):,} files, such as {others[0]}, are named as no images are"
            self.told.decide("", "files left out", why)
        left_out = self.told.skipped
        skipped = tuple(f"{name}: {left_out[name]}" for name in sorted(left_out))
        decisions = (*self.told.decisions, *plan.decisions)
        return replace(plan, decisions=decisions, skipped=skipped)

    def _of_folds(
        self, sizes: Mapping[str, int], images: list[str]
    ) -> tuple[list[str], str | None, Sequence[Published]]:
        """The images, those of one fold where each is a split; what was said of the split beside
        that; and where folds are parts, the splits that test on one of them."""
        folds = folds_of(self.source, sizes, images)
        self.shown: Mapping[str, str] = {} if folds is None else folds.shown
        if folds is None:
            return images, self.split, ()
        if folds.whole:
            kept = chosen_fold(self.source, images, folds, self.split, self.told)
            return sorted(kept), None, ()
        if len(self._structure(images, innermost=False).classes) < 2:
            self.shown = {}
        return images, self.split, folds.published()

    def _named(
        self, samples: dict[str, Sample], index: Index
    ) -> tuple[dict[str, Sample], tuple[str, ...]]:
        """The samples with the names of classes that lists beside them say, and their order."""
        lists = self.texts.class_lists(index)
        classes = {class_name for _, class_name, _ in samples.values()}
        folders = {part for name in samples for part in name.split("/")[:-1]}
        of_folders = classes <= folders
        named, told = fitting(lists, classes, of_folders=of_folders) if lists else (None, [])
        for value, why in told:
            self.told.decide("", value, why)
        if named is None:
            return samples, ()
        return {n: (r, named.name_of[c], key) for n, (r, c, key) in samples.items()}, named.order

    def _structure(
        self, images: Sequence[str], *, innermost: bool, without: Iterable[str] = ()
    ) -> Structure:
        root = tree(images, self.shown)
        return structure(root, innermost=innermost, total=len(images), without=without)

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
                for table in self.texts.faulty:
                    if table.fault is not None and says_others(table, found.classes):
                        raise table.fault
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
        self.told.leave_out(found.strays)
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
                self.told.decide(
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
            self.told.decide("labels_from", ways[0].value, f"{found.doubts}; {ways[0].words()}")
            return self._of(ways[0])
        if not ways:
            self._refuse_faulty()
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

    def _refuse_faulty(self) -> None:
        """Raise the fault of a table that labels images and does not say for sure which."""
        for table in self.texts.faulty:
            if table.fault is not None and says_others(table, ()):
                raise table.fault

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
        inner = self._structure(self.images, innermost=True)
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

    def _leave_out_unlabelled(self, names: set[str]) -> None:
        def place(name: str) -> str:
            return name.rpartition("/")[0] or "the top"

        self.told.leave_out(
            {n: f"nothing says the class of those in {place(n)}" for n in sorted(names)}
        )
