"""MNIST's IDX files: big-endian header, then bytes. http://yann.lecun.com/exdb/mnist (format)."""

from __future__ import annotations

import math
import re
import struct
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from saf.data.dataset import Dataset
from saf.data.formats.format import FORMATS, Format, Recognised
from saf.data.labels import class_names_of
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.data.sources.stream import Content, gunzip
from saf.errors import DataError

Bytes = NDArray[np.uint8]

_NAME = re.compile(
    r"(?:^|.*[-_.])(train|t10k|test)[-_.](images|labels)[-_.]idx\d[-_.]ubyte(\.gz)?$", re.IGNORECASE
)
_UBYTE = 0x08
FOUR_FILES = (
    "Send a .zip or .tar with train-images-idx3-ubyte, train-labels-idx1-ubyte, "
    "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (each may be .gz)."
)


@FORMATS.add
class Idx(Format):
    """MNIST's four files, gzipped or not, in a zip or tar: images `N H W` (idx3) or `N C H W`
    (idx4) in bytes, with one label byte each."""

    label: ClassVar[str] = "MNIST's four IDX files"
    place: ClassVar[int] = 20
    specificity: ClassVar[int] = 60

    name: Literal["idx"] = "idx"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        if source.single:
            _refuse_a_single_file(source)
            return None
        return Recognised() if any(cls.claims(member.name) for member in source.members) else None

    @classmethod
    def claims(cls, name: str) -> bool:
        return _NAME.match(name.rsplit("/", 1)[-1]) is not None

    def read(self, source: Source, limits: Limits) -> Dataset:
        return _read(source, limits)


def _refuse_a_single_file(source: Source) -> None:
    start = source.head(source.label, 4)
    if start in (b"\0\0\x08\x03", b"\0\0\x08\x04"):
        raise DataError(
            f"{source.label} is an IDX file of images without its labels", hint=FOUR_FILES
        )
    if start == b"\0\0\x08\x01":
        raise DataError(f"{source.label} is an IDX file of labels without images", hint=FOUR_FILES)


def _read(source: Source, limits: Limits) -> Dataset:
    roles = _roles(source)
    arrays: dict[str, Bytes] = {}
    names = {name: role for role, name in roles.items()}
    for content in source.contents(list(names)):
        role = names[content.name]
        arrays[role] = _read_array(content, source, images=role.endswith("images"))
    for split in ("train", "test"):
        images, labels = roles[f"{split} images"], roles[f"{split} labels"]
        if len(arrays[f"{split} images"]) != len(arrays[f"{split} labels"]):
            raise DataError(
                f"{images} holds {len(arrays[f'{split} images'])} images, "
                f"{labels} {len(arrays[f'{split} labels'])} labels",
                hint="Check that both files belong together and are whole.",
            )
    class_names = class_names_of(arrays["train labels"], roles["train labels"])
    _check_test_labels(arrays["test labels"], roles["test labels"], len(class_names))
    return Dataset(
        x_train=arrays["train images"],
        y_train=arrays["train labels"],
        x_test=arrays["test images"],
        y_test=arrays["test labels"],
        class_names=class_names,
    )


def _roles(source: Source) -> dict[str, str]:
    roles: dict[str, str] = {}
    for member in source.members:  # sorted: an unpacked file comes before its own .gz
        match = _NAME.match(member.name.rsplit("/", 1)[-1])
        if match is None:
            continue
        split = "train" if match[1].lower() == "train" else "test"
        role = f"{split} {match[2].lower()}"
        if role not in roles:
            roles[role] = member.name
        elif member.name != f"{roles[role]}.gz":
            raise DataError(
                f"{source.label} holds both {roles[role]} and {member.name}",
                hint="Send one data set at a time. " + FOUR_FILES,
            )
    wanted = [f"{split} {kind}" for split in ("train", "test") for kind in ("images", "labels")]
    if missing := [role for role in wanted if role not in roles]:
        raise DataError(
            f"{source.label} lacks the {', the '.join(missing)}",
            hint=FOUR_FILES,
        )
    return roles


def _read_array(content: Content, source: Source, *, images: bool) -> Bytes:
    name = content.name
    if name.lower().endswith(".gz"):
        content = gunzip(content)
    start = np.zeros(4, np.uint8)
    if content.fill(start.data) < 4 or start[0] or start[1]:
        raise DataError(
            f"{name} is no IDX file: it starts with {start.tobytes().hex(' ')}, not with 00 00",
            hint="Send the files as MNIST distributes them.",
        )
    if start[2] != _UBYTE:
        raise DataError(
            f"{name} holds values of type 0x{start[2]:02x}; only unsigned bytes (0x08) are read",
            hint="Scale images to 0…255 and store them as unsigned bytes.",
        )
    ndim = int(start[3])
    expected = {3: "N H W", 4: "N C H W"} if images else {1: "N"}
    if ndim not in expected:
        raise DataError(
            f"{name} has {ndim} dimensions; {' or '.join(map(str, expected))} expected "
            f"({' or '.join(expected.values())})",
            hint=FOUR_FILES,
        )
    head = np.zeros(4 * ndim, np.uint8)
    found = content.fill(head.data)
    if found < len(head):
        raise _wrong_length(name, "its header", 4 + len(head), 4 + found)
    shape = struct.unpack(f">{ndim}I", head.tobytes())
    size = source.limits.check_array(name, shape, 1)
    content.budget.expect(size, name)
    if ndim == 4 and shape[3] in (1, 3, 4) and shape[1] > 4:
        raise DataError(
            f"{name} has the shape {shape}, which looks like N H W C",
            hint="Store channels before height and width: N C H W. Where they are there already, "
            "swap height and width.",
        )
    values = source.allocate(name, shape, np.uint8).reshape(-1)
    before = 4 + len(head)
    described = f"its header says {' × '.join(map(str, shape))} values"
    if (found := content.fill(values.data)) < size:
        raise _wrong_length(name, described, before + size, before + found)
    if content.read(1):
        raise _wrong_length(name, described, before + size, None)
    if ndim == 3:
        shape = (shape[0], 1, *shape[1:])
    assert math.prod(shape) == size
    return values.reshape(shape)


def _wrong_length(name: str, why: str, expected: int, found: int | None) -> DataError:
    return DataError(
        f"{name}: expected {expected} bytes ({why}), found {'more' if found is None else found}",
        hint="The file was cut short or changed; fetch or write it again.",
    )


def _check_test_labels(labels: Bytes, name: str, classes: int) -> None:
    outside = labels >= classes
    if outside.any():
        index = int(outside.argmax())
        raise DataError(
            f"{name}: label {index} is {int(labels[index])}; the training labels are in "
            f"0…{classes - 1}",
            hint="Both splits need the same classes, numbered the same way.",
        )
