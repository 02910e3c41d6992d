"""Values out of a pickle file without unpickling it.

A pickle is a program. This reads the few instructions that a dictionary of texts, numbers, lists
and numpy arrays of integers is made of, and runs none of it: names of functions and classes stay
names, the few that numpy writes are recognised by name, all others are refused. Neither `pickle`
nor anything chosen by the file is ever called. Of the protocols, 2 to 5 are read.

Instructions: https://github.com/python/cpython/blob/3.11/Lib/pickletools.py
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from saf.data.dataset import Array
from saf.errors import DataError


@dataclass(frozen=True)
class _Name:
    """A module and an attribute that the pickle mentions; never looked up."""

    path: str


@dataclass
class _DType:
    code: str


class _ArrayShell:
    """An array between its two instructions: named first, filled by its state later."""

    array: Array | None = None


class _RefusedError(Exception):
    """The pickle does something that data of this kind does not do."""


_MARK = object()
_DTYPES = {"u1": "u1", "i4": "i4", "i8": "i8"}
_RECONSTRUCT = {
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
}
_FROMBUFFER = {"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"}
_COPIED = 2**16  # bytes; what is longer stays where it lies in the file


def read_pickled(data: bytes, name: str) -> Any:
    """The value in a pickle: dict, list, tuple, str, bytes, int, float, bool, None and numpy arrays
    of uint8, int32 or int64. Keys of dictionaries are str: bytes are decoded as Latin-1.

    Raises DataError, naming the file `name`, for anything else and for damage.
    """
    try:
        return _Machine(data).run()
    except _RefusedError as error:
        raise DataError(
            f"{name} is a pickle that holds more than plain data: {error}",
            hint="Send the batches as the CIFAR page distributes them, or an .npz of the arrays.",
        ) from error
    except (IndexError, KeyError, ValueError, TypeError, struct.error, OverflowError) as error:
        raise DataError(
            f"{name} is damaged or no pickle",
            hint="The file was cut short or changed; fetch it again.",
        ) from error


class _Machine:
    """A stack, a memo and a position in the bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        while True:
            code = self._take(1)[0]
            if code == ord("."):
                (value,) = self._stack
                return _finished(value)
            step = _STEPS.get(code)
            if step is None:
                raise _RefusedError(f"the instruction 0x{code:02x}")
            step(self)

    def _take(self, count: int) -> memoryview:
        part = self._data[self._at : self._at + count]
        if len(part) != count:
            raise IndexError("the pickle ends early")
        self._at += count
        return part

    def skip(self, count: int) -> None:
        self._take(count)

    def _number(self, layout: str) -> int:
        (value,) = struct.unpack(layout, self._take(struct.calcsize(layout)))
        return int(value)

    def _line(self) -> str:
        end = bytes(self._data[self._at : self._at + 1024]).index(b"\n")
        line = bytes(self._take(end + 1))[:-1]
        return line.decode("latin-1")

    def _counted(self, layout: str) -> memoryview:
        return self._take(self._number(layout))

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise IndexError("a mark where a value should be")
        return value

    def pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while (value := self._stack.pop()) is not _MARK:
            items.append(value)
        return items[::-1]

    def push_tuple(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self.push(tuple(items[::-1]))

    def push_long(self) -> None:
        digits = self._counted("<B")
        if len(digits) > 8:
            raise _RefusedError("a number of too many digits")
        self.push(int.from_bytes(digits, "little", signed=True))

    def push_number(self, layout: str) -> None:
        self.push(self._number(layout))

    def push_bytes(self, layout: str) -> None:
        part = self._counted(layout)
        self.push(bytes(part) if len(part) <= _COPIED else part)

    def push_text(self, layout: str) -> None:
        self.push(str(self._counted(layout), "utf-8", "surrogatepass"))

    def push_global(self) -> None:
        self.push(_Name(f"{self._line()}.{self._line()}"))

    def push_stacked_global(self) -> None:
        attribute, module = self.pop(), self.pop()
        if not isinstance(attribute, str) or not isinstance(module, str):
            raise _RefusedError("a name that is no text")
        self.push(_Name(f"{module}.{attribute}"))

    def store(self, layout: str) -> None:
        key = self._number(layout) if layout else len(self._memo)
        self._memo[key] = self._stack[-1]

    def recall(self, layout: str) -> None:
        self.push(self._memo[self._number(layout)])

    def append(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise _RefusedError("items for what is no list")
        self._stack[-1].extend(values)

    def set_items(self, flat: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise _RefusedError("entries for what is no dictionary")
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            target[_key(key)] = value

    def append_one(self) -> None:
        self.append([self.pop()])

    def set_one(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def push_dict(self) -> None:
        flat = self.pop_to_mark()
        self.push({})
        self.set_items(flat)

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise _RefusedError("a call of what has no name")
        self.push(_called(function.path, arguments))

    def build(self) -> None:
        state = self.pop()
        target = self._stack[-1]
        if isinstance(target, _ArrayShell) and isinstance(state, tuple) and len(state) == 5:
            _, shape, dtype, fortran, content = state
            target.array = _array(shape, dtype, content, "F" if fortran is True else "C")
        elif isinstance(target, _DType) and isinstance(state, tuple) and len(state) >= 2:
            if _text(state[1]) not in ("|", "<", "="):
                raise _RefusedError("an array of another byte order")
        else:
            raise _RefusedError("the state of an object")


def _called(path: str, arguments: tuple[Any, ...]) -> Any:
    if path in _RECONSTRUCT and arguments[0] == _Name("numpy.ndarray"):
        return _ArrayShell()
    if path == "numpy.dtype" and isinstance(arguments[0], (str, bytes)):
        return _DType(_text(arguments[0]).lstrip("|<="))
    if path == "_codecs.encode" and len(arguments) == 2 and _text(arguments[1]) == "latin1":
        return _text(arguments[0]).encode("latin-1")
    if path in _FROMBUFFER and len(arguments) == 4:
        shell = _ArrayShell()
        content, dtype, shape, order = arguments
        shell.array = _array(shape, dtype, content, "F" if _text(order) == "F" else "C")
        return shell
    raise _RefusedError(f"a call of {path[:100]!a}")


def _array(shape: Any, dtype: Any, content: Any, order: Any) -> Array:
    if not isinstance(dtype, _DType) or dtype.code not in _DTYPES:
        raise _RefusedError("an array that is not of uint8, int32 or int64")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise _RefusedError("an array without a shape")
    kind = np.dtype(_DTYPES[dtype.code]).newbyteorder("<")
    if isinstance(content, str):
        content = content.encode("latin-1")
    if (
        not isinstance(content, (bytes, memoryview))
        or len(content) != math.prod(shape) * kind.itemsize
    ):
        raise ValueError("the bytes of an array do not fit its shape")
    if len(shape) > 8:
        raise _RefusedError("an array of too many dimensions")
    return np.frombuffer(content, kind).reshape(shape, order=order)


def _key(key: Any) -> str | int:
    """Keys are compared and hashed, so nothing but texts and numbers is let in: the hash of
    nested tuples may take exponential time."""
    if isinstance(key, (str, bytes)):
        return _text(key)
    if type(key) is int:
        return key
    raise _RefusedError("a key that is neither text nor number")


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str):
        return value
    raise _RefusedError("something else where a text should be")


def _finished(value: Any) -> Any:
    """Arrays in place of their shells, one level into a dictionary: deeper ones are of no use."""
    if isinstance(value, _ArrayShell):
        return value.array
    if isinstance(value, dict):
        return {
            key: item.array if isinstance(item, _ArrayShell) else item
            for key, item in value.items()
        }
    return value


_Step = Callable[[_Machine], None]
_STEPS: dict[int, _Step] = {
    0x80: lambda m: m.skip(1),  # number of the protocol
    0x95: lambda m: m.skip(8),  # length of a frame
    ord("("): lambda m: m.push(_MARK),
    ord("}"): lambda m: m.push({}),
    ord("]"): lambda m: m.push([]),
    ord(")"): lambda m: m.push(()),
    ord("d"): _Machine.push_dict,
    ord("l"): lambda m: m.push(m.pop_to_mark()),
    ord("t"): lambda m: m.push(tuple(m.pop_to_mark())),
    0x85: lambda m: m.push_tuple(1),
    0x86: lambda m: m.push_tuple(2),
    0x87: lambda m: m.push_tuple(3),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("K"): lambda m: m.push_number("<B"),
    ord("M"): lambda m: m.push_number("<H"),
    ord("J"): lambda m: m.push_number("<i"),
    0x8A: _Machine.push_long,
    ord("U"): lambda m: m.push_bytes("<B"),
    ord("T"): lambda m: m.push_bytes("<I"),
    ord("C"): lambda m: m.push_bytes("<B"),
    ord("B"): lambda m: m.push_bytes("<I"),
    0x8E: lambda m: m.push_bytes("<Q"),
    0x96: lambda m: m.push_bytes("<Q"),
    0x8C: lambda m: m.push_text("<B"),
    ord("X"): lambda m: m.push_text("<I"),
    0x8D: lambda m: m.push_text("<Q"),
    ord("c"): _Machine.push_global,
    0x93: _Machine.push_stacked_global,
    ord("q"): lambda m: m.store("<B"),
    ord("r"): lambda m: m.store("<I"),
    0x94: lambda m: m.store(""),
    ord("h"): lambda m: m.recall("<B"),
    ord("j"): lambda m: m.recall("<I"),
    ord("a"): _Machine.append_one,
    ord("e"): lambda m: m.append(m.pop_to_mark()),
    ord("s"): _Machine.set_one,
    ord("u"): lambda m: m.set_items(m.pop_to_mark()),
    ord("R"): _Machine.call,
    ord("b"): _Machine.build,
}
