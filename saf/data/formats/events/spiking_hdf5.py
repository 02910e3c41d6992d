"""SHD and SSC as distributed: HDF5 files with lists of spikes, one file a split.

Cramer et al., The Heidelberg Spiking Data Sets for the Systematic Evaluation of Spiking Neural
Networks, 2020: `spikes/times` in s and `spikes/units` (lists of any length), `labels`, and
`extra/keys`, the names of the classes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from saf.data.arrays.classes import Classes, classes_of
from saf.data.dataset import Dataset, Decision
from saf.data.events.event_format import Timesteps
from saf.data.events.folders import Plan
from saf.data.events.stack import Counts, Load, stacked
from saf.data.formats.format import FORMATS, Format, Recognised
from saf.data.formats.settings import OnDamaged
from saf.data.labels import holdout
from saf.data.sources import hdf5
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.data.sources.stream import Content, gunzip
from saf.errors import DataError

TIMESTEPS = 100  # where nobody says T
_LONG = 60  # s, longer than what is said in SHD and SSC
UNITS = 700  # of SHD and SSC
MOST_UNITS = 1024
_NAME = re.compile(
    r"(?:^|.*[-_.])(train|test|valid|validation|val)\.(?:h5|hdf5)(\.gz)?$", re.IGNORECASE
)
_SPLIT = {"train": "train", "test": "test"}
_FILES = "Send a .zip or .tar with shd_train.h5 and shd_test.h5 (or ssc_…, with ssc_valid.h5)."


class _Lists(NamedTuple):
    """What a pass over a file found."""

    labels: NDArray[np.int64]
    keys: tuple[str, ...]
    last: float  # s, the latest spike
    most: int  # the highest unit


@FORMATS.add
class SpikingHdf5(Format):
    """SHD or SSC: `*_train.h5`, `*_test.h5` and perhaps `*_valid.h5` (each may be `.gz`) with
    `spikes/times`, `spikes/units` and `labels`, binned into event frames of counts with a channel
    for each unit and one pixel, `N T 700 1 1`. Unless the settings say otherwise, T is 100, and the
    steps are equal parts of the time from 0 to the latest spike of all samples; `step_ms` says how
    long a step is."""

    label: ClassVar[str] = "SHD or SSC (.h5)"
    place: ClassVar[int] = 65
    specificity: ClassVar[int] = 70
    packages: ClassVar[tuple[str, ...]] = ("h5py",)

    name: Literal["spiking-hdf5"] = "spiking-hdf5"
    timesteps: Timesteps = None
    step_ms: Annotated[float | None, Field(gt=0, le=1e6, description="ms of a step")] = None
    on_damaged: OnDamaged = None

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        files = _files(source)
        if source.single:
            start = source.head(source.label, len(hdf5.MAGIC))
            if start == hdf5.MAGIC and _NAME.match(source.label):
                raise DataError(f"{source.label} is one split of several", hint=_FILES)
            return None
        if "train" not in files or not any(_is_hdf5(source, name) for name in files.values()):
            return None
        return Recognised()

    @classmethod
    def claims(cls, name: str) -> bool:
        match = _NAME.match(name.rsplit("/", 1)[-1])
        return match is not None and match[2] is not None

    def read(self, source: Source, limits: Limits) -> Dataset:
        files = _files(source)
        split_of = {name: split for split, name in files.items()}
        lists: dict[str, _Lists] = {}
        for content in source.contents(list(split_of)):
            lists[split_of[content.name]] = _survey(_unpacked(content), source, limits)
        units = max(UNITS, *(found.most + 1 for found in lists.values()))
        if units > MOST_UNITS:
            raise DataError(
                f"{source.label} holds the unit {units - 1}; at most {MOST_UNITS} are read",
                hint="Check that spikes/units counts from 0.",
            )
        latest = max(found.last for found in lists.values())
        steps, width = self._steps(latest)
        classes = _classes(lists, files)
        numbered = {s: own._replace(labels=classes.labels[s]) for s, own in lists.items()}
        chosen = _plan(numbered, classes.names)
        bins = partial(_counts, steps=steps, width=width, units=units)

        def read(wanted: Collection[str]) -> Iterator[tuple[str, Load]]:
            for content in source.contents(list(split_of)):
                yield from _samples(_unpacked(content), source, split_of[content.name], bins)

        return stacked(
            source,
            read,
            chosen,
            (steps, units, 1, 1),
            skip=self.on_damaged == "skip",
            decisions=(*self._told(steps, width, latest, units), *_told_classes(classes)),
        )

    def _steps(self, latest: float) -> tuple[int, float]:
        """T, and the seconds of a step."""
        if self.step_ms is None:
            steps = self.timesteps or TIMESTEPS
            # A spike at the very end belongs to the last step.
            return steps, float(np.nextafter(max(latest, 1e-6) / steps, np.inf))
        width = self.step_ms / 1000
        if latest > _LONG:
            raise DataError(
                f"the latest spike is at {latest:,.0f} s: spikes/times are in s here, and seem to "
                "be in ms or µs",
                hint="Divide the times; or leave step_ms out, and say timesteps: then the steps "
                "are equal parts of the whole time, in whatever unit.",
            )
        return self.timesteps or int(latest / width) + 1, width

    def _told(self, steps: int, width: float, latest: float, units: int) -> tuple[Decision, ...]:
        why = (
            f"steps of {1000 * width:.4g} ms; the latest spike of all samples is at {latest:.4g} s"
        )
        if steps * width < latest:
            why += f", and what is after {steps * width:.4g} s is left out"
        return (
            Decision("timesteps", str(steps), why),
            Decision("", f"{units} channels", "one for each unit, of one pixel"),
        )


def _files(source: Source) -> dict[str, str]:
    """The file of each split; "val" where there is one."""
    found: dict[str, str] = {}
    for member in source.members:
        match = _NAME.match(member.name.rsplit("/", 1)[-1])
        if match is None:
            continue
        split = _SPLIT.get(match[1].lower(), "val")
        if split in found and member.name != f"{found[split]}.gz":
            raise DataError(
                f"{source.label} holds both {found[split]} and {member.name}",
                hint="Send one data set at a time.",
            )
        found.setdefault(split, member.name)
    return found


def _is_hdf5(source: Source, name: str) -> bool:
    return name.lower().endswith(".gz") or source.head(name, len(hdf5.MAGIC)) == hdf5.MAGIC


def _unpacked(content: Content) -> Content:
    return gunzip(content) if content.name.lower().endswith(".gz") else content


def _lists_of(file: Any, name: str) -> tuple[Any, Any, Any]:
    import h5py

    times, units, labels = (
        hdf5.dataset_of(file, path, name) for path in ("spikes/times", "spikes/units", "labels")
    )
    for path, part, kinds in (("spikes/times", times, "fiu"), ("spikes/units", units, "iu")):
        inner = h5py.check_vlen_dtype(part.dtype)
        if inner is None or np.dtype(inner).kind not in kinds or part.ndim != 1:
            raise DataError(f"{name}: {path} holds no lists of numbers", hint=_FILES)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{name}: labels are no integers, one a sample", hint=_FILES)
    if not len(times) == len(units) == len(labels) or not len(labels):
        raise DataError(
            f"{name} has {len(times)} lists of times, {len(units)} of units and {len(labels)} "
            "labels",
            hint=_FILES,
        )
    return times, units, labels


def _survey(content: Content, source: Source, limits: Limits) -> _Lists:
    name = content.name
    with hdf5.opened(content, source) as file:
        times, units, labels = _lists_of(file, name)
        limits.check_array(name, (len(labels),), 8)
        last, most = 0.0, 0
        for index in range(len(labels)):
            if len(times[index]):
                last = max(last, float(np.fmax.reduce(times[index].astype(np.float64))))
            if len(units[index]):
                most = max(most, int(units[index].max()))
        if not np.isfinite(last):
            raise DataError(f"{name} holds spikes at infinite times", hint="Write it again.")
        found = hdf5.find(file, "extra/keys", name)
        texts = None if found is None or found.ndim != 1 else hdf5.texts_of(found, name)
        keys = () if texts is None else tuple(str(text) for text in texts)
        return _Lists(labels[()].astype(np.int64), keys, last, most)


def _classes(lists: dict[str, _Lists], files: Mapping[str, str]) -> Classes:
    """The classes, by the names in the files where there are such. Raises DataError where the files
    have different ones."""
    named = {split: found.keys for split, found in lists.items() if found.keys}
    if len(set(named.values())) > 1:
        raise DataError(
            f"{' and '.join(files[split] for split in named)} name different classes (extra/keys)",
            hint="Write the same names in the same order into all files, or none.",
        )
    known = next(iter(named.values()), None)
    titles = {split: f"labels of {files[split]}" for split in lists}
    return classes_of({s: own.labels for s, own in lists.items()}, known=known, titles=titles)


def _told_classes(classes: Classes) -> tuple[Decision, ...]:
    if not classes.why:
        return ()
    listed = ", ".join(classes.names[:8]) + (", …" if len(classes.names) > 8 else "")
    return (Decision("", f"the classes {listed}", classes.why),)


def _plan(lists: dict[str, _Lists], names: tuple[str, ...]) -> Plan:
    """Samples are called as their split in the files and their number there."""
    decisions: list[Decision] = []
    labels = {split: found.labels for split, found in lists.items()}
    places = {
        f"{split}/{index}": (split, index)
        for split, own in labels.items()
        for index in range(len(own))
    }
    if "test" not in labels and "val" in labels:
        labels["test"] = labels.pop("val")
        places = {name: (s.replace("val", "test"), row) for name, (s, row) in places.items()}
        decisions.append(
            Decision("", "test", "there is no test file: the validation file is taken")
        )
    elif "test" not in labels:
        every = labels["train"]
        out = holdout(every, [str(index) for index in range(len(every))], len(names))
        rows = {"train": 0, "test": 0}
        for index, is_test in enumerate(out):
            split = "test" if is_test else "train"
            places[f"train/{index}"] = split, rows[split]
            rows[split] += 1
        labels = {"train": every[~out], "test": every[out]}
        decisions.append(Decision("", "holdout", "there is no test file: a fifth is held out"))
    return Plan(tuple(names), labels, places, tuple(decisions))


def _samples(content: Content, source: Source, split: str, bins: Any) -> Iterator[tuple[str, Load]]:
    with hdf5.opened(content, source) as file:
        times, units, labels = _lists_of(file, content.name)
        for index in range(len(labels)):
            name = f"{split}/{index}"
            yield (
                name,
                partial(bins, times[index], units[index], f"sample {index} of {content.name}"),
            )


def _counts(
    times: Any, channels: Any, name: str, *, steps: int, width: float, units: int
) -> Counts:
    """The counts `T units 1 1` of a sample. Raises DataError."""
    if len(times) != len(channels):
        raise DataError(
            f"{name} has {len(times)} times and {len(channels)} units", hint="Write it again."
        )
    t = times.astype(np.float64)
    if not np.isfinite(t).all() or t.min(initial=0) < 0 or channels.min(initial=0) < 0:
        raise DataError(
            f"{name} holds negative times or units, or times that are no numbers",
            hint="Write it again.",
        )
    step = np.minimum(t / width, steps).astype(np.int64)
    inside = step < steps
    place = step[inside] * units + channels.astype(np.int64)[inside]
    return np.bincount(place, minlength=steps * units).reshape(steps, units, 1, 1)
