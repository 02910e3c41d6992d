"""A data format is added by one class: it is detected, asked, read and named in what is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest

from saf.data import Dataset, Limits, detect, read
from saf.data.formats.canonical import Canonical
from saf.data.formats.format import (
    FORMATS,
    Candidate,
    Format,
    NeedsChoiceError,
    Question,
    Recognised,
)
from saf.data.sources.source import Source
from saf.errors import DataError
from saf.processes import check_dataset


class Raw(Format):
    """Bytes after the word RAW: a label and 16 pixels a sample, pixels or labels first."""

    label: ClassVar[str] = "a file of RAW bytes"
    specificity: ClassVar[int] = 100
    packed: ClassVar[bool] = False

    name: Literal["raw"] = "raw"
    labels_from: Literal["first", "last"] | None = None

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        if not source.single or source.head(source.label, 3) != b"RAW":
            return None
        candidates = tuple(Candidate(way, f"the {way} byte of a sample") for way in WAYS)
        return Recognised((Question("labels_from", "Which byte is the label?", candidates),))

    def read(self, source: Source, limits: Limits) -> Dataset:
        whole = [content.read_whole(1000) for content in source.contents([source.label])]
        rows = np.frombuffer(whole[0][3:], np.uint8).reshape(-1, 17)
        place = 0 if self.labels_from == "first" else 16
        x = np.delete(rows, place, axis=1).reshape(-1, 1, 4, 4)
        y = rows[:, place].astype(np.int64)
        return Dataset(x_train=x, y_train=y, x_test=x, y_test=y, class_names=("a", "b"))


WAYS = ("first", "last")


class Other(Raw):
    """The same files, by another name."""

    label: ClassVar[str] = "another RAW"
    name: Literal["other"] = "other"  # type: ignore[assignment]


class Needy(Raw):
    """The same files, with a package that nobody has."""

    name: Literal["needy"] = "needy"  # type: ignore[assignment]
    packages: ClassVar[tuple[str, ...]] = ("no_such_package",)


@pytest.fixture
def added(request: pytest.FixtureRequest) -> Iterator[None]:
    kinds: list[type[Format]] = list(request.param)
    for kind in kinds:
        FORMATS.add(kind)
    yield
    for kind in kinds:
        FORMATS.remove(kind.model_fields["name"].default)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    rows = np.arange(6 * 17, dtype=np.uint8).reshape(6, 17)
    rows[:, 0] = rows[:, 16] = np.arange(6) % 2
    path = tmp_path / "samples.raw"
    path.write_bytes(b"RAW" + rows.tobytes())
    return path


@pytest.mark.parametrize("added", [[Raw]], indirect=True)
def test_files_that_can_be_read_in_two_ways_are_asked_about_and_read_as_answered(
    added: None, raw: Path
) -> None:
    assert detect(raw) == "raw"
    with pytest.raises(NeedsChoiceError, match="Which byte is the label") as caught:
        read(raw)
    assert "labels_from = 'last': the last byte of a sample" in caught.value.hint
    dataset = read(raw, settings={"labels_from": "last"})
    assert dataset.x_train.shape == (6, 1, 4, 4)
    assert dataset.x_train[1, 0, 0, 0] == 1  # the label at the other end


@pytest.mark.parametrize("added", [[Raw]], indirect=True)
def test_the_process_that_checks_uploads_hands_on_questions_and_takes_answers(
    added: None, raw: Path, tmp_path: Path
) -> None:
    result = tmp_path / "result.json"
    given = [str(raw), str(tmp_path / "canonical"), "--result", str(result)]
    assert check_dataset.main(given) == 0
    asked = result.read_text()
    assert '"setting": "labels_from"' in asked
    assert '"ok": false' in asked
    assert check_dataset.main([*given, "--settings", '{"labels_from": "first"}']) == 0
    assert '"ok": true' in result.read_text()


@pytest.mark.parametrize("added", [[Raw]], indirect=True)
def test_a_setting_that_the_format_does_not_have_is_named_with_those_it_has(
    added: None, raw: Path
) -> None:
    with pytest.raises(DataError, match="the format raw has no setting 'layout'") as caught:
        read(raw, settings={"layout": "N C H W"})
    assert caught.value.hint == "Its settings are labels_from."


@pytest.mark.parametrize("added", [[Raw, Other]], indirect=True)
def test_files_of_two_formats_are_asked_about_unless_the_format_is_said(
    added: None, raw: Path
) -> None:
    with pytest.raises(NeedsChoiceError, match="Of which format") as caught:
        read(raw)
    assert [each.value for each in caught.value.questions[0].candidates] == ["other", "raw"]
    assert len(read(raw, "other", settings={"labels_from": "last"}).x_train) == 6


@pytest.mark.parametrize("added", [[Needy]], indirect=True)
def test_a_missing_package_is_named(added: None, raw: Path) -> None:
    assert detect(raw) == "needy"
    with pytest.raises(DataError, match="needs the package no_such_package") as caught:
        read(raw, settings={"labels_from": "last"})
    assert "pip install no_such_package" in caught.value.hint


@pytest.mark.parametrize("added", [[Raw]], indirect=True)
def test_what_is_said_to_send_comes_from_the_formats(added: None, tmp_path: Path) -> None:
    (tmp_path / "notes.bin").write_text("nothing to train on")
    with pytest.raises(DataError) as caught:
        read(tmp_path / "notes.bin")
    hint = caught.value.hint
    assert hint.startswith("Send a .zip, .7z or .tar (.gz, .bz2, .xz, .zst) with ")
    labels = [kind.label for kind in FORMATS if kind.label != Canonical.label]
    assert all(label in hint for label in labels)
    assert hint.endswith("or a file of RAW bytes.")
