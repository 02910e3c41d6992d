"""numpy's `.npz`: `x_train y_train x_test y_test`; `x_val y_val` and `class_names` if there.

Each array's header is read and checked before memory is taken for it; arrays of Python objects,
which are pickles, are refused.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Literal

import numpy as np

from saf.data.blocks import blocks, copy
from saf.data.dataset import COUNTS, PIXELS, Array, Dataset, check_labels
from saf.data.formats.format import FORMATS, Format, Recognised
from saf.data.labels import class_names_of
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.data.sources.stream import BLOCK, Content
from saf.errors import DataError

_SAMPLES = ("x_train", "x_test")
_LABELS = ("y_train", "y_test")
NAMES = (*_SAMPLES, *_LABELS)
_VALIDATION = ("val", "valid", "validation")
_HINT = "Write the file with numpy.savez(path, x_train=…, y_train=…, x_test=…, y_test=…)."


@FORMATS.add
class Npz(Format):
    """`x_train y_train x_test y_test`; static images `N C H W` or `N H W`, event frames
    `N T C H W`; perhaps `x_val y_val`. Images are bytes, other integers in 0…255, or floats in
    [0, 1]; event frames are counts, taken as they are: whole numbers up to 255 are kept as bytes,
    others as float32."""

    label: ClassVar[str] = "an .npz with x_train, y_train, x_test, y_test"
    place: ClassVar[int] = 40
    specificity: ClassVar[int] = 10
    packed: ClassVar[bool] = False

    name: Literal["npz"] = "npz"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        if source.single:
            if source.head(source.label, 6) == b"\x93NUMPY":
                raise DataError(
                    f"{source.label} is a single array", hint="Send an .npz with all four arrays."
                )
            return None
        names = {member.name.rsplit("/", 1)[-1] for member in source.members}
        return Recognised() if any(f"{name}.npy" in names for name in NAMES) else None

    def read(self, source: Source, limits: Limits) -> Dataset:
        return _read(source, limits)


def _read(source: Source, limits: Limits) -> Dataset:
    there = {member.name for member in source.members}
    if missing := [name for name in NAMES if f"{name}.npy" not in there]:
        found = ", ".join(sorted(there)[:10]) or "nothing"
        raise DataError(
            f"{source.label} lacks {', '.join(missing)}; it holds {found}",
            hint=_HINT,
        )
    validation = _validation(there, source.label)
    samples, labels = (*_SAMPLES, *validation[:1]), (*_LABELS, *validation[1:])
    names = (*samples, *labels)
    wanted = [f"{name}.npy" for name in (*names, "class_names") if f"{name}.npy" in there]
    arrays: dict[str, Array] = {}
    for content in source.contents(wanted):
        name = content.name.removesuffix(".npy")
        array = _read_array(content, source)
        arrays[name] = _samples(array, name, source) if name in samples else array
    counts = [arrays[name] for name in samples if arrays[name].ndim == 5]
    if any(x.dtype != np.uint8 for x in counts):  # all splits are of one type
        arrays |= {
            name: _as_floats(arrays[name], name, source)
            for name in samples
            if arrays[name].ndim == 5
        }
    class_names = _class_names(arrays)
    for name in labels:
        check_labels(arrays[name], name, len(class_names))
    fields: dict[str, Any] = {name: arrays[name] for name in NAMES}
    fields |= {to: arrays[name] for to, name in zip(("x_val", "y_val"), validation, strict=False)}
    return Dataset(**fields, class_names=class_names, unit=COUNTS if counts else PIXELS)


def _validation(there: set[str], label: str) -> tuple[str, ...]:
    """The names of samples and labels of the validation split; nothing where there is none."""
    found = [n for n in _VALIDATION if {f"x_{n}.npy", f"y_{n}.npy"} & there]
    if len(found) > 1:
        raise DataError(
            f"{label} holds the validation splits {', '.join(found)}; there can be one",
            hint="Merge them, or leave out all but one.",
        )
    names = tuple(f"{kind}_{n}" for n in found for kind in ("x", "y"))
    if missing := [name for name in names if f"{name}.npy" not in there]:
        raise DataError(
            f"{label} lacks {missing[0]} for its validation split",
            hint="Give samples and labels of the validation split, or neither.",
        )
    return names


def _read_array(content: Content, source: Source) -> Array:
    name = content.name
    shape, fortran, dtype = _header(content)
    if dtype.hasobject or dtype.kind not in "biufUS":
        raise DataError(
            f"{name} is an array of {dtype.name if dtype.hasobject else dtype}, which is not read",
            hint="Save arrays of numbers: x.astype('uint8') or 'float32', y.astype('int64').",
        )
    if len(shape) > 5 or any(n < 1 for n in shape) or dtype.itemsize == 0:
        raise DataError(
            f"{name} has the shape {shape}",
            hint="No array may be empty; images are N C H W, event frames N T C H W.",
        )
    size = source.limits.check_array(name, shape, dtype.itemsize)
    content.budget.expect(size, name)
    array = source.allocate(name, shape, dtype, "F" if fortran else "C")
    flat = array.T if fortran else array
    found = content.fill(flat.reshape(-1).view(np.uint8).data)
    if found < size:
        raise DataError(
            f"{name}: expected {size} bytes for the shape {shape}, found {found}",
            hint="The file was cut short; write it again.",
        )
    content.read(BLOCK)  # at the end of the member its checksum is compared
    return array


def _header(content: Content) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            version = np.lib.format.read_magic(content)
            if version == (1, 0):
                return np.lib.format.read_array_header_1_0(content)
            if version == (2, 0):
                return np.lib.format.read_array_header_2_0(content)
            raise ValueError(f"version {version} of the format")
    except DataError:
        raise
    except Exception as error:
        # The header is a Python literal, and numpy lets through whatever parsing it may raise:
        # errors of the tokenizer, of the syntax, a MemoryError for too deep a nesting.
        raise DataError(f"{content.name} has a broken header", hint=_HINT) from error


def _samples(array: Array, name: str, source: Source) -> Array:
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} is {array.dtype}, not numbers", hint=_HINT)
    if array.ndim == 3:
        array = array[:, np.newaxis]
    if array.ndim not in (4, 5):
        raise DataError(
            f"{name} has the shape {array.shape}",
            hint="Images are N C H W or N H W, event frames N T C H W.",
        )
    channel_counts = (1, 3, 4) if array.ndim == 4 else (1, 2, 3, 4)
    if array.shape[-1] in channel_counts and array.shape[-3] > 4:
        order = "0, 3, 1, 2" if array.ndim == 4 else "0, 1, 4, 2, 3"
        raise DataError(
            f"{name} has the shape {array.shape}, which looks like channels last",
            hint=f"Put channels before height and width: x.transpose({order}). Where they are "
            "there already, swap height and width.",
        )
    if array.dtype.kind == "f":
        return _as_floats(array, name, source)
    lowest = min(int(block.min()) for block in blocks(array))
    highest = max(int(block.max()) for block in blocks(array))
    if array.ndim == 5:
        fits = 0 <= lowest <= highest <= 255
        return _as_bytes(array, name, source) if fits else _as_floats(array, name, source)
    if lowest < 0 or highest > 255:
        raise DataError(
            f"{name} holds integers from {lowest} to {highest}; pixels are in 0…255",
            hint="Scale the images to 0…255 as uint8, or to [0, 1] as float32.",
        )
    if highest == 1:
        raise DataError(
            f"{name} holds only 0 and 1 as {array.dtype}; of 0…255 that is all but black",
            hint="Multiply it by 255, or store it as float32.",
        )
    return _as_bytes(array, name, source)


def _as_bytes(array: Array, name: str, source: Source) -> Array:
    return _of_type(array, np.dtype(np.uint8), name, source)


def _as_floats(array: Array, name: str, source: Source) -> Array:
    with np.errstate(over="ignore"):  # too large for float32: infinite, refused as such
        return _of_type(array, np.dtype(np.float32), name, source)


def _of_type(array: Array, dtype: np.dtype[Any], name: str, source: Source) -> Array:
    if array.dtype == dtype and array.flags.c_contiguous:
        return array
    converted = source.allocate(name, array.shape, dtype)
    copy(array, converted)
    return converted


def _class_names(arrays: dict[str, Array]) -> tuple[str, ...]:
    if "class_names" not in arrays:
        return class_names_of(arrays["y_train"], "y_train")
    names = arrays["class_names"]
    if names.dtype.kind != "U" or names.ndim != 1:
        raise DataError(
            "class_names is no list of texts", hint="Save numpy.array(['cat', 'dog', …])."
        )
    return tuple(str(name) for name in names)
