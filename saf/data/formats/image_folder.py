"""Image files: in folders of classes, or with a table that labels them.

`train/<class>/*.jpg`, `test/<class>/…`, perhaps `val/<class>/…`, below any number of folders. Which
class and split each image has is found out by `saf.data.images.plan`, how images become arrays of
one size by `saf.data.images.stack`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from typing import ClassVar, Literal

from pydantic import Field

from saf.data.dataset import Dataset, Decision
from saf.data.formats.format import (
    FORMATS,
    Candidate,
    Format,
    NeedsChoiceError,
    Question,
    Recognised,
)
from saf.data.formats.settings import (
    LabelsFrom,
    OnDamaged,
    Size,
    Split,
    ValueRange,
    ends_of,
    sides_of,
)
from saf.data.formats.spelling import ClassCase
from saf.data.images.decode import (
    MAX_FILE,
    Background,
    is_image_name,
    is_unread_image_name,
    require_pillow,
)
from saf.data.images.plan import Planner
from saf.data.images.stack import Rules, stacked
from saf.data.images.survey import Load
from saf.data.images.tree import LAYOUT
from saf.data.sources.limits import Limits
from saf.data.sources.names import UTF8
from saf.data.sources.source import Source
from saf.errors import DataError

_DATA = (".npy", ".npz", ".mat", ".h5", ".hdf5", ".parquet", ".bin", ".aedat", ".csv", ".ubyte")
_INCIDENTAL = 8
"""Images at the top beside other data up to which they are no samples, but such as a preview."""


@FORMATS.add
class ImageFolder(Format):
    """A zip or tar of `train/<class>/*.png` (or `.jpg`, `.webp`, …), `test/<class>/…` and perhaps
    `val/<class>/…`. With `<class>/*.png` alone, or `train/` alone, a fifth of every class, always
    the same, is held out for testing. Or image files with a table of labels, such as `labels.csv`
    with the columns `file_name` and `label`."""

    label: ClassVar[str] = "an image folder"
    place: ClassVar[int] = 10
    specificity: ClassVar[int] = 20

    names_classes: ClassVar[bool] = True

    name: Literal["image-folder"] = "image-folder"
    encoding: str | None = Field(
        None, max_length=40, description="that of names in a zip archive, such as 'cp932'"
    )
    labels_from: LabelsFrom = None
    split: Split = None
    class_case: ClassCase = None
    size: Size = None
    value_range: ValueRange = None
    background: Background | None = Field(
        None, description="what transparent images are laid on: 'white' or 'black'"
    )
    on_damaged: OnDamaged = None

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        if source.single:
            if source.head(source.label, 4).startswith((b"\xff\xd8\xff", b"\x89PNG")):
                raise DataError(
                    f"{source.label} is a single image", hint=f"Send an archive. {LAYOUT}"
                )
            return None
        images = [m.name for m in source.members if is_image_name(m.name)]
        if images and not cls._are_incidental(images, source):
            return Recognised()
        for member in source.members:
            if is_unread_image_name(member.name):
                raise _unread(member.name)
        return None

    @classmethod
    def claims(cls, name: str) -> bool:
        return is_unread_image_name(name)  # .nii.gz

    def _choose_encoding(self, source: Source) -> tuple[Decision, ...]:
        """Names of an archive in an encoding, for folders name classes. Raises NeedsChoiceError."""
        if self.encoding is not None:
            source.use_encoding(self.encoding)
            return ()
        possible = source.encodings
        if len(possible) < 2:
            if possible and possible[0] != UTF8:
                why = f"names that are not marked as UTF-8 are in it: {_folders(source)}"
                return (Decision("encoding", possible[0], why),)
            return ()
        candidates = []
        for encoding in possible:
            source.use_encoding(encoding)
            candidates.append(Candidate(encoding, _folders(source)))
        asks = "In which encoding are the names of folders and files?"
        raise NeedsChoiceError(source.label, (Question("encoding", asks, tuple(candidates)),))

    @classmethod
    def _are_incidental(cls, images: list[str], source: Source) -> bool:
        data = sum(member.name.lower().endswith(_DATA) for member in source.members)
        return len(images) <= min(_INCIDENTAL, data) and len({n.count("/") for n in images}) == 1

    def read(self, source: Source, limits: Limits) -> Dataset:
        told = self._choose_encoding(source)
        require_pillow()  # here, where its own import may warn

        def contents(names: Collection[str]) -> Iterator[tuple[str, Load]]:
            for content in source.contents(names):
                yield content.name, partial(content.read_whole, MAX_FILE)

        for member in source.members:
            if is_unread_image_name(member.name):
                raise _unread(member.name)
        plan = Planner(
            source, contents, limits, self.labels_from, self.split, self.class_case
        ).plan()
        rules = Rules(
            size=None if self.size is None else sides_of(self.size),
            value_range=None if self.value_range is None else ends_of(self.value_range),
            background=self.background,
            on_damaged=self.on_damaged,
        )
        stacks = stacked(source, contents, plan.places, rules, limits)
        labels = {split: each[stacks.kept[split]] for split, each in plan.labels.items()}
        return Dataset(
            x_train=stacks.x["train"],
            y_train=labels["train"],
            x_test=stacks.x["test"],
            y_test=labels["test"],
            class_names=plan.class_names,
            x_val=stacks.x.get("val"),
            y_val=labels.get("val"),
            decisions=(*told, *_counted(plan.decisions, len(stacks.skipped)), *stacks.decisions),
            skipped=(*plan.skipped, *stacks.skipped),
        )


def _counted(decisions: tuple[Decision, ...], damaged: int) -> tuple[Decision, ...]:
    """Decisions that counted images, with the word that damaged ones were among them."""
    if not damaged:
        return decisions
    words = f"; {damaged:,} of the images counted here cannot be read and are left out"
    return tuple(
        each._replace(why=each.why + words) if each.setting in ("split", "labels_from") else each
        for each in decisions
    )


def _folders(source: Source) -> str:
    """Names of some folders that are more than ASCII, for people."""
    folders = (part for member in source.members for part in member.name.split("/"))
    return ", ".join(list(dict.fromkeys(part for part in folders if not part.isascii()))[:6])


def _unread(name: str) -> DataError:
    return DataError(
        f"{name} is an image of a kind that is not read",
        hint="Convert all images to PNG, JPEG or WebP.",
    )
