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
        b"# made by numpy.savetxt\n# twice\n" + table(with_labels(), ["label", *PIXELS]),
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


@pytest.mark.parametrize("head", ["", "label\n", '"y"\n'])
def test_labels_in_a_file_of_their_own_are_found(head: str, place: Place) -> None:
    names = ["ant", "bee"]
    files = {}
    for split, rows in (("train", slice(0, 14)), ("test", slice(14, 20))):
        files[f"{split}/X_{split}.txt"] = table(X[rows], PIXELS)
        files[f"{split}/y_{split}.txt"] = (head + "\n".join(names[y] for y in Y[rows])).encode()
    data = read(place(files))
    check(data, ("ant", "bee"))
    assert (len(data.y_train), len(data.y_test)) == (14, 6)
    files["test/y_test.txt"] = b"ant\nbee"
    with pytest.raises(DataError, match="x_test has 6 samples, and there are 2 labels"):
        read(place(files))


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


TEXTS = ["ant" if y == 0 else "bee" for y in Y]


@pytest.mark.parametrize(
    "content",
    [
        table(with_labels(), [str(n) for n in range(65)]),  # as pandas numbers columns
        table(with_labels(), [str(n) for n in range(1, 66)]),
        table(with_labels(), ["label", *(str(n) for n in range(64))]),
        table(with_labels(last=True), [*(str(n) for n in range(64)), "label"]),
        table(([n, *r] for n, r in enumerate(with_labels())), ["", "label", *map(str, range(64))]),
        table(([f"{y}.0", *x] for y, x in zip(Y, X, strict=True)), ["label", *PIXELS]),
    ],
)
def test_a_first_line_of_numbers_is_names_or_a_sample(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes(content)
    check(read(tmp_path / "d.csv"))


@pytest.mark.parametrize(
    "content",
    [
        table(with_labels(y=TEXTS)),
        table(with_labels(y=TEXTS, last=True)),
        table(with_labels(y=TEXTS), ["label", *(str(n) for n in range(64))]),
        table(with_labels(y=TEXTS, last=True), [*(str(n) for n in range(64)), "label"]),
        table(with_labels(y=TEXTS), [str(n) for n in range(1, 66)]),
        table(with_labels(y=TEXTS, last=True), [str(n) for n in range(1, 66)]),
        table([[y, f"{n}.png", *x] for n, (y, x) in enumerate(zip(TEXTS, X, strict=True))]),
        table([[f"{n}.png", *x, y] for n, (y, x) in enumerate(zip(TEXTS, X, strict=True))]),
    ],
)
def test_no_sample_is_lost_where_labels_are_texts(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes(content)
    check(read(tmp_path / "d.csv"), ("ant", "bee"))


def test_a_first_sample_of_fractions_is_no_line_of_names(tmp_path: Path) -> None:
    rows = [[y, *(x / 255).round(3)] for x, y in zip(X, Y, strict=True)]
    rows[1] = [1, *[0] * 64]
    (tmp_path / "d.csv").write_bytes(table(rows))
    data = read(tmp_path / "d.csv")
    assert len(data.y_train) + len(data.y_test) == 20


def test_a_sample_that_pandas_took_for_names_is_told(tmp_path: Path) -> None:
    head = ["5", "0", *(f"0.{n}" for n in range(1, 40)), "9", *(f"9.{n}" for n in range(1, 24))]
    (tmp_path / "d.csv").write_bytes(table(with_labels(), head))
    data = read(tmp_path / "d.csv")
    check(data)
    assert "left out: line 1 of d.csv" in [decision.value for decision in data.decisions]


@pytest.mark.parametrize("head", [None, ["label", *PIXELS]])
@pytest.mark.parametrize("change", [lambda row: [*row, 7], lambda row: row[:-1]])
@pytest.mark.parametrize("separator", [",", " "])
def test_a_line_of_another_length_is_refused(
    head: list[str] | None, change: Any, separator: str, tmp_path: Path
) -> None:
    rows = with_labels()
    rows[17] = change(rows[17])
    (tmp_path / "d.csv").write_bytes(table(rows, head, separator))
    with pytest.raises(DataError, match=f"about line {19 if head else 18}: 6[46] fields"):
        read(tmp_path / "d.csv")


def test_pixels_of_another_number_in_one_column_are_refused(tmp_path: Path) -> None:
    texts = [" ".join(map(str, row)) for row in X]
    texts[17] += " 9"
    rows = list(zip(Y, texts, strict=True))
    (tmp_path / "d.csv").write_bytes(table(rows, ["label", "pixels"]))
    with pytest.raises(DataError, match="changed from 64 to 65"):
        read(tmp_path / "d.csv")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([round(0.37 * n, 2) for n in range(20)], "values that are not whole"),
        ([*range(18), 1, "nan"], "values that are not whole"),
        ([1, 0, "", *[1, 0] * 8, 1], "sample 3 has no label"),
        (range(20), "has one sample"),
        ([f"photo {n}" for n in range(20)], "has one sample"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels: Any, says: str, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes(table(with_labels(y=labels), ["label", *PIXELS]))
    with pytest.raises(DataError, match=says):
        read(tmp_path / "d.csv")


def test_a_column_that_names_splits_and_those_that_are_left_out_are_told(tmp_path: Path) -> None:
    uses = ["train", "train", "valid", "test"] * 5
    rows = [
        [y, use, n % 5, "note", *x] for n, (x, y, use) in enumerate(zip(X, Y, uses, strict=True))
    ]
    path = tmp_path / "d.csv"
    path.write_bytes(table(rows, ["label", "split", "fold", "remark", *PIXELS]))
    data = read(path)
    assert data.y_val is not None
    assert [len(data.y_train), len(data.y_val), len(data.y_test)] == [10, 5, 5]
    told = [decision.value for decision in data.decisions]
    assert "column 'split'" in told
    assert "left out: column 'fold', column 'remark'" in told
    held_out = read(path, settings={"split": "holdout"})
    assert held_out.y_val is None
    assert len(held_out.y_test) == 4


@pytest.mark.parametrize("name", ["fold", "kfold"])
def test_folds_of_a_cross_validation_are_no_splits(name: str, tmp_path: Path) -> None:
    rows = [[y, n % 3, *x] for n, (x, y) in enumerate(zip(X, Y, strict=True))]
    (tmp_path / "d.csv").write_bytes(table(rows, ["label", name, *PIXELS]))
    check(read(tmp_path / "d.csv"))


def test_splits_that_are_numbers_are_refused(tmp_path: Path) -> None:
    rows = [[y, n % 2, *x] for n, (x, y) in enumerate(zip(X, Y, strict=True))]
    (tmp_path / "d.csv").write_bytes(table(rows, ["label", "set", *PIXELS]))
    with pytest.raises(DataError, match="names the split '0' in column 'set'"):
        read(tmp_path / "d.csv")


@pytest.mark.parametrize("head", [None, [str(n) for n in range(66)]])
def test_the_last_column_of_numbers_may_hold_labels_before_one_of_texts(
    head: list[str] | None, tmp_path: Path
) -> None:
    rows = [[*x, y, f"{n}.png"] for n, (x, y) in enumerate(zip(X, Y, strict=True))]
    rows = [[n % 5, *row[1:]] for n, row in enumerate(rows)]
    (tmp_path / "d.csv").write_bytes(table(rows, head))
    with pytest.raises(NeedsChoiceError, match="Which column") as caught:
        read(tmp_path / "d.csv")
    assert [c.value for c in caught.value.questions[0].candidates] == ["1", "65"]


def test_columns_of_several_tables_are_matched_by_their_names(place: Place) -> None:
    order = RANDOM.permutation(64)
    files = {
        "train.csv": table(with_labels(X[:14], Y[:14]), ["label", *PIXELS]),
        "test.csv": table(
            with_labels(X[14:][:, order], Y[14:], last=True), [*(PIXELS[n] for n in order), "label"]
        ),
    }
    np.testing.assert_array_equal(read(place(files)).x_test, X[14:].reshape(-1, 1, 8, 8))


@pytest.mark.parametrize("names", [PIXELS, [f"{r}x{c}" for r in range(2) for c in range(32)]])
def test_columns_that_were_sorted_as_texts_are_in_the_order_of_their_numbers(
    names: list[str], tmp_path: Path
) -> None:
    order = sorted(range(64), key=lambda n: names[n])
    (tmp_path / "d.csv").write_bytes(
        table(with_labels(X[:, order]), ["label", *(names[n] for n in order)])
    )
    data = read(tmp_path / "d.csv")
    check(data)
    assert any("by number" in decision.value for decision in data.decisions)


def test_a_column_that_is_not_named_as_pixels_may_hold_the_labels(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(table(with_labels(), ["kind", *PIXELS]))
    with pytest.raises(NeedsChoiceError) as caught:
        read(path)
    (question,) = caught.value.questions
    (way,) = question.candidates
    assert (question.setting, way.value) == ("labels_from", "kind")
    assert "column 'kind' holds the labels 0, 1" in way.means
    check(read(path, settings={"labels_from": "kind"}))


def test_a_table_without_labels_is_refused_with_the_names_of_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(table(X, PIXELS))
    with pytest.raises(DataError, match=r"none of its columns 'pixel0', .* is named as labels"):
        read(path)


@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_numbers_with_a_decimal_comma_are_refused_by_name(separator: str, place: Place) -> None:
    mark = '"' if separator == "," else ""
    shares = [[f"{mark}{v / 255:.3f}{mark}".replace(".", ",") for v in x] for x in X]
    rows = with_labels(shares)
    for head in (["label", *PIXELS], None):
        with pytest.raises(DataError, match="decimal comma"):
            read(place({"data.csv": table(rows, head, separator)}))


def test_lines_that_end_by_carriage_returns_alone_are_refused_by_name(place: Place) -> None:
    text = table(with_labels(), ["label", *PIXELS]).replace(b"\n", b"\r")
    with pytest.raises(DataError, match="carriage returns"):
        read(place({"data.csv": text}))
