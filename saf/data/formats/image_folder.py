"""Folders of images: `train/<class>/*.jpg|jpeg|png`, `test/<class>/…`, perhaps `val/<class>/…`.

Beside train/ and test/, the folder val/ (or valid/, validation/) is the validation split; beside
train/ alone it is the test split. Without either, 20 % of each class are held out for testing.

All images have one size; gray ones become RGB when there is an RGB one; an alpha channel is
dropped; of 16 bits the upper 8 are kept.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from saf import extras
from saf.data.dataset import Dataset, check_class_names
from saf.data.formats.format import FORMATS, Format, Recognised
from saf.data.labels import holdout
from saf.data.sources.limits import MIB, Budget, LimitError, Limits
from saf.data.sources.source import Source
from saf.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

Pixels = NDArray[np.uint8]

SUFFIXES = (".jpg", ".jpeg", ".png")
_OTHER_IMAGES = (".bmp", ".gif", ".webp", ".tif", ".tiff", ".heic", ".avif", ".ppm", ".pgm")
_MAX_FILE = 64 * MIB
_VALIDATION = frozenset({"val", "valid", "validation"})
_SPLITS = frozenset({"train", "test"}) | _VALIDATION
_GRAY = {"1", "L", "LA", "La"}
_COLOUR = {"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "RGBa"}
_FORMATS = ("JPEG", "PNG")
LAYOUT = (
    "Arrange the images as train/<class>/*.png and test/<class>/*.png, or as <class>/*.png "
    "to have a fifth of each class held out for testing."
)


def is_image_name(name: str) -> bool:
    """Whether a file is named as the images are that are read."""
    return name.lower().endswith(SUFFIXES)


@FORMATS.add
class ImageFolder(Format):
    """A zip or tar of `train/<class>/*.png` (or `.jpg`, `.jpeg`), `test/<class>/…` and perhaps
    `val/<class>/…`; all images of one size. With `<class>/*.png` alone, or `train/` alone, a fifth
    of every class, always the same, is held out for testing."""

    label: ClassVar[str] = "an image folder"
    place: ClassVar[int] = 10
    specificity: ClassVar[int] = 20

    name: Literal["image-folder"] = "image-folder"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        if source.single:
            if source.head(source.label, 4).startswith((b"\xff\xd8\xff", b"\x89PNG")):
                raise DataError(
                    f"{source.label} is a single image", hint=f"Send an archive. {LAYOUT}"
                )
            return None
        return Recognised() if any(is_image_name(m.name) for m in source.members) else None

    def read(self, source: Source, limits: Limits) -> Dataset:
        return _read(source, limits)


@dataclass(frozen=True)
class _Plan:
    """Where each image goes: its split and row. Rows are in the order of the names."""

    class_names: tuple[str, ...]
    labels: dict[str, NDArray[np.int64]]
    places: dict[str, tuple[str, int]]


def _read(source: Source, limits: Limits) -> Dataset:
    _require_pillow()  # here, where its own import may warn
    plan = _plan(source)
    budget = Budget(limits, source.packed_bytes, source.label)
    pixels = _Stack({split: len(labels) for split, labels in plan.labels.items()}, limits, budget)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow warns of damage that it reads over
        for content in source.contents(plan.places.keys()):
            split, row = plan.places[content.name]
            image = decode_image(content.name, content.read_whole(_MAX_FILE), limits)
            pixels.put(content.name, split, row, image)
    return Dataset(
        x_train=pixels.stacks["train"],
        y_train=plan.labels["train"],
        x_test=pixels.stacks["test"],
        y_test=plan.labels["test"],
        class_names=plan.class_names,
        x_val=pixels.stacks.get("val"),
        y_val=plan.labels.get("val"),
    )


def _plan(source: Source) -> _Plan:
    images: list[tuple[str, list[str]]] = []
    for member in source.members:
        if is_image_name(member.name):
            images.append((member.name, member.name.split("/")))
        elif member.name.lower().endswith(_OTHER_IMAGES):
            raise DataError(
                f"{member.name} is an image of a kind that is not read",
                hint="Convert all images to PNG or JPEG.",
            )
    if not images:
        raise DataError(f"{source.label} holds no .jpg, .jpeg or .png file", hint=LAYOUT)
    tops = {parts[0] for _, parts in images}
    if len(tops) == 1 and not _has_splits(images) and min(len(p) for _, p in images) >= 3:
        images = [(name, parts[1:]) for name, parts in images]
    if _has_splits(images):
        return _plan_of_splits(source, images)
    return _plan_of_classes(source, images)


def _has_splits(images: list[tuple[str, list[str]]]) -> bool:
    return any(parts[0].lower() in _SPLITS and len(parts) >= 3 for _, parts in images)


def _plan_of_splits(source: Source, images: list[tuple[str, list[str]]]) -> _Plan:
    tops = {parts[0].lower() for _, parts in images}
    if len(tops & _VALIDATION) > 1:
        purpose = "validation" if "test" in tops else "testing"
        raise DataError(
            f"{source.label} holds {', '.join(sorted(tops))}: which of them is for {purpose}?",
            hint="Leave at most test/ and one validation folder beside train/; merge the others.",
        )
    for name, parts in images:
        if len(parts) != 3 or parts[0].lower() not in _SPLITS:
            raise DataError(
                f"{name} is not at train/<class>/, test/<class>/ or val/<class>/", hint=LAYOUT
            )
    if "train" not in tops:
        raise DataError(f"{source.label} holds no train folder", hint=LAYOUT)
    classes = tuple(sorted({parts[1] for _, parts in images if parts[0].lower() == "train"}))
    check_class_names(classes)
    if tops == {"train"}:
        return _plan_of_classes(source, [(name, parts[1:]) for name, parts in images])
    index_of = {name: index for index, name in enumerate(classes)}
    spare = "val" if "test" in tops else "test"  # what a validation folder becomes
    split_of = {top: spare if top in _VALIDATION else top for top in tops}
    labels: dict[str, list[int]] = {split: [] for split in split_of.values()}
    places: dict[str, tuple[str, int]] = {}
    for name, (top, class_name, _) in images:
        split = split_of[top.lower()]
        if class_name not in index_of:
            raise DataError(
                f"{name}: the class {class_name!r} is tested but has no training images",
                hint=f"Use the same class folders in train/ and {top}/.",
            )
        places[name] = (split, len(labels[split]))
        labels[split].append(index_of[class_name])
    arrays = {split: np.array(values, np.int64) for split, values in labels.items()}
    return _Plan(classes, arrays, places)


def _plan_of_classes(source: Source, images: list[tuple[str, list[str]]]) -> _Plan:
    for name, parts in images:
        if len(parts) != 2:
            raise DataError(f"{name} is not in a folder named after its class", hint=LAYOUT)
    classes = tuple(sorted({parts[0] for _, parts in images}))
    if len(classes) < 2:
        raise DataError(
            f"{source.label} holds images of one class only, {classes[0]!r}", hint=LAYOUT
        )
    check_class_names(classes)
    index_of = {name: index for index, name in enumerate(classes)}
    labels = np.array([index_of[parts[0]] for _, parts in images], np.int64)
    held_out = holdout(labels, ["/".join(parts) for _, parts in images], len(classes))
    places: dict[str, tuple[str, int]] = {}
    rows = {"train": 0, "test": 0}
    for (name, _), test in zip(images, held_out, strict=True):
        split = "test" if test else "train"
        places[name] = (split, rows[split])
        rows[split] += 1
    return _Plan(classes, {"train": labels[~held_out], "test": labels[held_out]}, places)


class _Stack:
    """The images of all splits, placed row by row into arrays of the final size."""

    def __init__(self, counts: dict[str, int], limits: Limits, budget: Budget) -> None:
        """`budget` bounds what all images take as pixels, whatever they are packed in."""
        self._counts = counts
        self._budget = budget
        self._limits = limits
        self.stacks: dict[str, Pixels] = {}
        self._first = ""

    def put(self, name: str, split: str, row: int, image: Pixels) -> None:
        """Place an image `C H W`; DataError unless its size is that of the first one."""
        if not self.stacks:
            self._first = name
            self._allocate(image.shape)
        _, channels, height, width = self.stacks[split].shape
        if image.shape[1:] != (height, width):
            raise DataError(
                f"{name} has {image.shape[2]} × {image.shape[1]} pixels, "
                f"{self._first} has {width} × {height}",
                hint="Scale or crop all images to one size.",
            )
        if image.shape[0] > channels:
            gray = self.stacks
            self._allocate(image.shape)
            for key, stack in gray.items():
                self.stacks[key][:] = stack
        self.stacks[split][row] = image

    def _allocate(self, shape: tuple[int, ...]) -> None:
        whole = (sum(self._counts.values()), *shape)
        self._budget.expect(self._limits.check_array("all images", whole, 1), "all images")
        self.stacks = {
            split: np.zeros((count, *shape), np.uint8) for split, count in self._counts.items()
        }


def decode_image(name: str, blob: bytes, limits: Limits) -> Pixels:
    """The pixels `C H W` of a PNG or JPEG, one channel or three. Raises DataError."""
    _require_pillow()
    from PIL import Image

    try:
        with Image.open(io.BytesIO(blob), formats=_FORMATS) as image:
            if max(image.size) > limits.max_image_side:  # known before anything is decoded
                raise LimitError(
                    f"{name} has {image.size[0]} × {image.size[1]} pixels; at most "
                    f"{limits.max_image_side} on a side are accepted",
                    limit="max_image_side",
                    hint="Scale the images down.",
                )
            return _pixels(name, image)
    except (DataError, MemoryError):
        raise
    except Exception as error:
        # Pillow's readers raise whatever the bytes make them stumble over, and warnings.
        raise DataError(
            f"{name} is no readable PNG or JPEG image: {_reason(error)}",
            hint="Replace or remove the file.",
        ) from error


def _require_pillow() -> None:
    try:
        import PIL.Image  # noqa: F401
    except ModuleNotFoundError as error:
        if not extras.is_missing("data", error):
            raise
        raise DataError("reading images needs Pillow", hint=extras.remedy("data")) from None


def _pixels(name: str, image: Image.Image) -> Pixels:
    if image.mode in _GRAY:
        return np.asarray(image.convert("L"))[np.newaxis]
    if image.mode in _COLOUR:
        # A transparent palette is expanded first: converting it at once would raise a warning.
        opaque = image.convert("RGBA") if image.mode in ("P", "PA") else image
        return np.asarray(opaque.convert("RGB")).transpose(2, 0, 1)
    if image.mode.startswith("I;16"):
        return (np.asarray(image) >> 8).astype(np.uint8)[np.newaxis]
    raise DataError(
        f"{name} has pixels of the kind {image.mode!r}",
        hint="Save the image with 8 bits per channel, gray or RGB.",
    )


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "its content is neither"  # the original message prints a memory address
    if isinstance(error, (SyntaxError, struct.error)):
        return "its header is broken"
    return str(error)[:200] or type(error).__name__
