"""Text of exports: the files of this folder, and arrays and lines as C has them."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
from numpy.typing import NDArray


def template(name: str) -> str:
    """A file of this folder."""
    return (files("saf.lif.export") / "templates" / name).read_text()


def constant_lines(kind: str, name: str, values: NDArray[np.int64]) -> str:
    """The definition of an array of constants."""
    flat = values.ravel()  # once: of a transposed matrix it is a copy
    rows = [flat[i : i + 24] for i in range(0, flat.size, 24)]
    text = ",\n    ".join(", ".join(map(str, row.tolist())) for row in rows)
    return f"static const {kind} {name}[{values.size}] = {{\n    {text}}};\n"


def indented(lines: list[str]) -> str:
    """Lines of a function."""
    return "".join(f"    {line}\n" for line in lines)


def by(shape: tuple[int, ...]) -> str:
    """`2 × 3 × 4`."""
    return " × ".join(map(str, shape))
