"""Tables and arrays of features: numbers of a sample without place or time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from saf.data import read
from saf.data.formats.format import NeedsChoiceError
from saf.data.statistics import divisors
from saf.errors import DataError
from tests.saf.data.formats.arrays.test_csv_pixels import table

FEATURES = ["length", "width", "depth", "mass"]
RANDOM = np.random.default_rng(0)
MEASURED = (RANDOM.normal(size=(60, 4)) * [1, 20, 0.1, 300] + 5).round(3)


def test_a_table_of_features_with_names_is_read_without_a_question(tmp_path: Path) -> None:
    rows = [[*values, "ant" if n % 2 else "bee"] for n, values in enumerate(MEASURED.tolist())]
    path = tmp_path / "insects.csv"
    path.write_bytes(table(rows, [*FEATURES, "species"]))
    data = read(path)
    assert data.x_train.shape == (48, 4, 1, 1)
    assert (data.class_names, data.kind) == (("ant", "bee"), "images")
    told = {each.setting: each for each in data.decisions}
    assert told["layout"].value == "N C"
    low, high = map(float, told["value_range"].value.split(".."))
    above = f"value - {low:g}" if low >= 0 else f"value + {-low:g}"
    assert f"({above}) / {high - low:g}" in told["value_range"].why
    seen = np.concatenate([data.x_train, data.x_test])[..., 0, 0] * (high - low) + low
    wanted = MEASURED[np.lexsort(MEASURED.T)]
    np.testing.assert_allclose(seen[np.lexsort(seen.round(3).T)], wanted, atol=0.01)


@pytest.mark.parametrize(
    ("offset", "spread"), [(0.0, 1e7), (1.7e9, 1e8), (-1e4, 2e4), (0.0, 0.05), (0.0, 1.0)]
)
def test_a_feature_in_any_unit_is_seen_beside_the_others(
    offset: float, spread: float, tmp_path: Path
) -> None:
    """An income, a time stamp, a balance, a share."""
    x = np.hstack([MEASURED, offset + spread * RANDOM.random((60, 1))])
    path = tmp_path / "d.csv"
    rows = [[*values, n % 2] for n, values in enumerate(x.tolist())]
    path.write_bytes(table(rows, [*FEATURES, "last", "label"]))
    data = read(path)
    mean, deviation = data.channel_statistics()
    divisor = np.array(divisors(deviation.tolist(), data.sample_shape))
    held_out = np.concatenate([data.x_train, data.x_test])[..., 0, 0]
    seen = (held_out - mean) / divisor  # as the network has it
    expected = (x - x.mean(axis=0)) / x.std(axis=0)
    for own, wanted in zip(np.sort(seen, axis=0).T, np.sort(expected, axis=0).T, strict=True):
        assert np.corrcoef(own, wanted)[0, 1] > 0.9999
        assert own.std() == pytest.approx(1.0, abs=0.4)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("layout", ["N C", "C N"])
def test_features_that_float32_would_lose_in_the_scale_of_all_are_refused(
    layout: str, order: Literal["C", "F"], tmp_path: Path
) -> None:
    """Ratios beside a balance that goes far below 0, from where all are counted."""
    x = np.random.default_rng(0).normal(size=(60, 5)) * [1, 1, 1e7, 1, 1]
    x[:, 4] = 3.0  # says nothing, and is no reason to refuse
    labels = np.arange(60) % 2

    def written(values: Any) -> Path:
        turned = np.asarray(values if layout == "N C" else values.T, order=order)
        np.savez(tmp_path / "d.npz", x=turned, y=labels)
        return tmp_path / "d.npz"

    with pytest.raises(DataError, match=r"3 of 5 features would .*feature 0 .*feature 2 ") as found:
        read(written(x), settings={"layout": layout})
    assert "StandardScaler" in (found.value.hint or "")
    scaled = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    data = read(written(scaled), settings={"layout": layout})
    assert (data.channel_statistics().deviation[:4] > 0.01).all()


@pytest.mark.parametrize(
    "names",
    [
        ["t", "x", "polarity", "z", "y"],  # events: y is no label
        ["v1", "v2", "v3", "v4", "label"],  # steps or pixels, too few of them
        [*FEATURES, "size"],
    ],
)
def test_a_table_of_few_columns_that_may_be_something_else_is_refused(
    names: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(table([[*row, n % 2] for n, row in enumerate(MEASURED.tolist())], names))
    with pytest.raises(DataError, match="at least 4 features"):
        read(path)


def test_a_table_of_many_columns_with_one_name_is_still_a_question(tmp_path: Path) -> None:
    wide = np.hstack([MEASURED] * 5)
    path = tmp_path / "d.csv"
    rows = [[*row, n % 2] for n, row in enumerate(wide.tolist())]
    path.write_bytes(table(rows, [*(f"v{n}" for n in range(20)), "label"]))
    with pytest.raises(NeedsChoiceError):
        read(path)


def insects(path: Path, fields: dict[tuple[int, int], str], names: list[str]) -> Path:
    """A table of features, with some fields by row and column."""
    rows = [[*values, "ant" if n % 2 else "bee"] for n, values in enumerate(MEASURED.tolist())]
    for (row, column), text in fields.items():
        rows[row][column] = text
    path.write_bytes(table(rows, names))
    return path


@pytest.mark.parametrize("text", ["", "?", "NA", " null "])
@pytest.mark.parametrize("row", [0, 20])
def test_a_feature_that_lacks_a_value_is_refused_and_not_left_out(
    row: int, text: str, tmp_path: Path
) -> None:
    """In the first line, too, which tells what the columns are."""
    names = [*FEATURES, "species"]
    path = insects(tmp_path / "d.csv", {(row, 1): text}, names)
    with pytest.raises(DataError, match=f"line {row + 2}: column 'width' has no value") as caught:
        read(path)
    assert "mean of its column" in caught.value.hint


def test_a_text_among_the_numbers_of_a_feature_is_named(tmp_path: Path) -> None:
    path = insects(tmp_path / "d.csv", {(30, 2): "12 mm"}, [*FEATURES, "species"])
    with pytest.raises(DataError, match="line 32: column 'depth' holds '12 mm'"):
        read(path)


def test_labels_of_features_are_in_the_column_that_is_asked_for(tmp_path: Path) -> None:
    """One that is not named as labels are, and another one than that which is."""
    path = insects(tmp_path / "d.csv", {}, [*FEATURES, "klasse"])
    with pytest.raises(DataError, match="at least 4 features") as caught:
        read(path)
    assert "format = csv and labels_from" in caught.value.hint
    assert read(path, "csv", settings={"labels_from": "klasse"}).class_names == ("ant", "bee")
    with pytest.raises(DataError, match="no column 'class'"):
        read(path, "csv", settings={"labels_from": "class"})
    rows = [[*row, n % 2, ["no", "yes"][n % 3 == 0]] for n, row in enumerate(MEASURED.tolist())]
    path.write_bytes(table(rows, [*FEATURES, "label", "winged"]))
    data = read(path, settings={"labels_from": "winged"})
    assert data.class_names == ("no", "yes")
    assert sum(data.y_train == 1) + sum(data.y_test == 1) == 20
    assert [d.value for d in read(path).decisions][:1] == ["left out: column 'winged'"]
