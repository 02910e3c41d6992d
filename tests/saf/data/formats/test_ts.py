"""`.ts` files of time series."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from saf.data import read
from saf.data.formats.detect import detect
from saf.errors import DataError

HEADER = """# Vowels of speakers
% and of others
@problemName Vowels
@timeStamps false
@missing false
@univariate false
@dimensions 2
@equalLength false
@classLabel true 1 2 10
@data
"""


def lines(samples: list[np.ndarray], labels: list[str]) -> str:
    return "".join(
        ":".join(",".join(f"{v:.9g}" for v in channel) for channel in x.T) + f":{label}\n"
        for x, label in zip(samples, labels, strict=True)
    )


def series(count: int, seed: int, *, uneven: bool) -> tuple[list[np.ndarray], list[str]]:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(3, 8, count) if uneven else np.full(count, 6)
    samples = [generator.normal(size=(n, 2)).astype(np.float32) for n in lengths]
    return samples, [("10", "2", "1")[n % 3] for n in range(count)]


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("uneven", [False, True], ids=["even", "uneven"])
def test_a_pair_of_files_is_read_with_its_splits_classes_and_lengths(
    uneven: bool, packed: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "Vowels"
    folder.mkdir()
    made = {part: series(n, n, uneven=uneven) for part, n in (("TRAIN", 12), ("TEST", 6))}
    for part, (samples, labels) in made.items():
        content = HEADER.encode() + lines(samples, labels).replace("\n", "\r\n").encode()
        (folder / f"Vowels_{part}.ts").write_bytes(b"\xef\xbb\xbf" + content)
    path = folder
    if packed:
        path = tmp_path / "vowels.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in folder.iterdir():
                archive.write(file, f"Vowels/{file.name}")
    assert detect(path) == "ts"
    data = read(path)
    assert data.class_names == ("1", "2", "10")
    steps = max(len(x) for samples, _ in made.values() for x in samples)
    for split, (samples, labels) in zip(("train", "test"), made.values(), strict=True):
        x, y = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
        assert x.shape == (len(samples), steps, 2)
        assert [data.class_names[n] for n in y] == labels
        for ours, theirs in zip(x, samples, strict=True):
            np.testing.assert_array_equal(ours[: len(theirs)], theirs)
            assert not ours[len(theirs) :].any()
        lengths = getattr(data, f"lengths_{split}")
        assert (lengths is not None) == uneven
        if uneven:
            assert lengths.tolist() == [len(x) for x in samples]


def test_one_file_is_divided_and_names_of_classes_may_be_words(tmp_path: Path) -> None:
    samples, _ = series(20, 1, uneven=False)
    path = tmp_path / "all.ts"
    path.write_text(HEADER + lines(samples, ["walk", "run"] * 10))
    data = read(path)
    assert data.class_names == ("run", "walk")
    assert len(data.x_train) + len(data.x_test) == 20
    assert len(data.x_test) == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEADER + "1,2:3,?:1\n", "line 11: a value is missing"),
        (HEADER + "1,2:3,NaN:1\n", "a value is missing"),
        (HEADER + "1,2:3,x:1\n", "'x' is no finite number"),
        (HEADER + "1,2:3,1e99:1\n", "'1e99' is no finite number"),
        (HEADER + "1,2:3,4:1\n1,2:1\n", "line 12: 1 channels, and the first sample has 2"),
        (HEADER + "1,2:3:1\n", "channels of 1 to 2 values"),
        (HEADER + "1,2,3,4\n", "no class at its end"),
        (HEADER, "holds no samples"),
        (HEADER.replace("Stamps false", "Stamps true"), "a time with each value"),
        (HEADER.replace("classLabel true", "classLabel false"), "has no classes"),
        (HEADER.replace("@classLabel", "@targetLabel"), "has no classes"),
        (HEADER.replace("@data\n", "1,2:1\n"), "neither a comment nor a header"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "A_TRAIN.ts").write_text(content)
    with pytest.raises(DataError, match=said) as refused:
        read(tmp_path / "A_TRAIN.ts")
    assert refused.value.hint


def test_other_files_of_that_ending_are_none_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "script.ts").write_text("export const data = 1;\n")
    with pytest.raises(DataError, match="of no kind that is read"):
        read(tmp_path / "script.ts")


def test_files_of_two_data_sets_are_not_mixed(tmp_path: Path) -> None:
    for name in ("A_TRAIN.ts", "B_TRAIN.ts"):
        (tmp_path / name).write_text(HEADER + "1,2:3,4:1\n")
    with pytest.raises(DataError, match="both of the split 'train'"):
        read(tmp_path)


def test_long_series_are_no_large_images(tmp_path: Path) -> None:
    samples = [np.full((3000, 1), n, np.float32) for n in range(6)]
    (tmp_path / "A_TRAIN.ts").write_text(HEADER + lines(samples, ["a", "b"] * 3))
    (tmp_path / "A_TEST.ts").write_text(HEADER + lines(samples, ["a", "b"] * 3))
    assert read(tmp_path).x_train.shape == (6, 3000, 1)
