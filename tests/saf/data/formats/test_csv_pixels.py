"""Tables of pixels as text."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saf.data import detect, read
from saf.data.formats.format import NeedsChoiceError
from saf.errors import DataError

Place = Callable[[Mapping[str, bytes]], Path]
Pack = Callable[[Mapping[str, bytes], str], Path]
RANDOM = np.random.default_rng(8)
X = RANDOM.integers(0, 256, (20, 64), np.uint8)
X[:, 0] = 0
X[0, 1] = 255
Y = np.arange(20) % 2
PIXELS = [f"pixel{n}" for n in range(64)]


def table(rows: Any, head: list[str] | None = None, separator: str = ",") -> bytes:
    lines = [separator.join(map(str, row)) for row in ([head] if head else []) + list(rows)]
    return ("\n".join(lines) + "\n").encode()


def with_labels(x: Any = X, y: Any = Y, last: bool = False) -> list[list[Any]]:
    return [[*row, label] if last else [label, *row] for row, label in zip(x, y, strict=True)]


def check(data: Any, names: tuple[str, ...] = ("0", "1")) -> None:
    """All samples are there, each with its label."""
    assert data.class_names == names
    label_of = {x.tobytes(): y for x, y in zip(X, Y, strict=True)}
    found = [*zip(data.x_train, data.y_train, strict=True)]
    found += zip(data.x_test, data.y_test, strict=True)
    assert len(found) == 20
    for x, y in found:
        assert x.shape == (1, 8, 8)
        assert label_of[x.tobytes()] == y


@pytest.mark.parametrize(
    "content",
    [
        table(with_labels(), ["label", *PIXELS]),
        table(with_labels(last=True), [*PIXELS, "class"]),
        table(with_labels(), ["label", *(f"{r}x{c}" for r in range(1, 9) for c in range(1, 9))]),
        table(with_labels(), ["label", *PIXELS], ";"),
        table(with_labels(), ["label", *PIXELS], "\t"),
        b"\xef\xbb\xbf" + table(with_labels(), ["label", *PIXELS]),
        table(with_labels(), ["label", *PIXELS]).replace(b"\n", b"\r\n"),
        table(with_labels()),
        table(with_labels(last=True)),
        table(with_labels(), separator=" "),
        table(with_labels(), ["0", *(f"0.{n}" for n in range(1, 65))]),
        table(([n, *row] for n, row in enumerate(with_labels())), ["id", "label", *PIXELS]),
    ],
)
def test_a_table_is_read_whatever_its_separators_and_names(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "digits.csv"
    path.write_bytes(content)
    assert detect(path) == "csv"
    check(read(path))
    (tmp_path / "digits.csv.gz").write_bytes(gzip.compress(content))
    check(read(tmp_path / "digits.csv.gz"))


def test_texts_are_names_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    rows = with_labels(y=["ant" if y == 0 else '"bee, small"' for y in Y])
    path.write_bytes(table(rows, ["label", *PIXELS]))
    check(read(path), ("ant", "bee, small"))


def test_a_test_table_without_labels_is_left_out(pack: Pack) -> None:
    files = {
        "train.csv": table(with_labels(), ["label", *PIXELS]),
        "test.csv": table(X, PIXELS),
        "sample_submission.csv": b"ImageId,Label\n1,0\n",
    }
    data = read(pack(files, "zip"))
    check(data)
    assert data.skipped == ("test.csv: no column of labels",)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_two_tables_are_two_splits(suffix: str, place: Place) -> None:
    train, test = with_labels(X[:14], Y[:14]), with_labels(X[14:], Y[14:])
    pack = gzip.compress if suffix else bytes
    data = read(
        place(
            {
                f"fashion-mnist_train.csv{suffix}": pack(table(train, ["label", *PIXELS])),
                f"fashion-mnist_test.csv{suffix}": pack(table(test, ["label", *PIXELS])),
            }
        )
    )
    np.testing.assert_array_equal(data.x_test, X[14:].reshape(-1, 1, 8, 8))
    assert data.y_train.tolist() == Y[:14].tolist()


def test_pixels_in_one_column_with_a_column_for_the_split(tmp_path: Path) -> None:
    usage = ["Training"] * 12 + ["PublicTest"] * 4 + ["PrivateTest"] * 4
    rows = [
        [label, " ".join(map(str, row)), use] for label, row, use in zip(Y, X, usage, strict=True)
    ]
    path = tmp_path / "fer2013.csv"
    path.write_bytes(table(rows, ["emotion", "pixels", "Usage"]))
    data = read(path)
    np.testing.assert_array_equal(data.x_train, X[:12].reshape(-1, 1, 8, 8))
    np.testing.assert_array_equal(data.x_val, X[12:16].reshape(-1, 1, 8, 8))
    np.testing.assert_array_equal(data.x_test, X[16:].reshape(-1, 1, 8, 8))
    assert data.y_test.tolist() == Y[16:].tolist()


def test_which_column_holds_the_labels_is_asked_where_two_could(tmp_path: Path) -> None:
    x = X.copy()
    x[:, 0] = Y * 255
    path = tmp_path / "d.csv"
    path.write_bytes(table(with_labels(x, 1 - Y, last=True)))
    with pytest.raises(NeedsChoiceError, match="the first or the last") as caught:
        read(path)
    assert [c.value for c in caught.value.questions[0].candidates] == ["1", "65"]
    data = read(path, settings={"labels_from": "65"})
    label_of = {row.tobytes(): 1 - y for row, y in zip(x, Y, strict=True)}
    for sample, label in zip(data.x_train, data.y_train, strict=True):
        assert label_of[sample.tobytes()] == label


@pytest.mark.parametrize(
    ("content", "says", "remedy"),
    [
        (table(X, PIXELS), "pixels without labels", "label"),
        (table(with_labels(), ["label", *PIXELS]) + b"1,2\n", "about line 2", "numbers"),
        (table([*with_labels(), ["0", "x", *X[0, 1:]]], ["label", *PIXELS]), "about", "numbers"),
        (b"name,age\nann,3\nben,4\n", "holds no pixels", "pixel0"),
    ],
)
def test_tables_that_cannot_be_used_are_refused_with_the_remedy(
    content: bytes, says: str, remedy: str, tmp_path: Path
) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert says in str(caught.value)
    assert remedy in caught.value.hint
