"""CIFAR-10-C: one of its corruptions, with no image in both splits."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saf.data import detect, read
from saf.data.formats.format import NeedsChoiceError
from saf.errors import DataError

Pack = Callable[[Mapping[str, bytes], str], Path]
CLEAN = np.random.default_rng(5).integers(0, 200, (20, 32, 32, 3), np.uint8)
X = np.concatenate([CLEAN + severity for severity in range(1, 6)])
Y = np.tile(np.arange(20) % 2, 5)


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.fixture
def path(pack: Pack) -> Path:
    files = {"fog": npy(X), "snow": npy(X[::-1]), "labels": npy(Y)}
    return pack({f"CIFAR-10-C/{name}.npy": content for name, content in files.items()}, "tar")


def test_which_corruption_is_asked(path: Path) -> None:
    assert detect(path) == "cifar-c"
    with pytest.raises(NeedsChoiceError, match="Which of the corruptions") as caught:
        read(path)
    assert [c.value for c in caught.value.questions[0].candidates] == ["fog", "snow"]
    with pytest.raises(DataError, match="no corruption 'frost'"):
        read(path, settings={"corruption": "frost"})


@pytest.mark.parametrize("severity", [None, 1, 3, 5])
def test_an_image_is_in_one_split_in_all_its_severities(severity: int | None, path: Path) -> None:
    settings = {"corruption": "fog"} | ({"severity": severity} if severity else {})
    data = read(path, settings=settings)
    severities = [severity] if severity else range(1, 6)
    number = {(CLEAN[n] + s).tobytes(): n for n in range(20) for s in severities}
    found = {}
    for split, x, y in (("train", data.x_train, data.y_train), ("test", data.x_test, data.y_test)):
        found[split] = [number[each.transpose(1, 2, 0).tobytes()] for each in x]
        assert y.tolist() == [n % 2 for n in found[split]]
    assert not set(found["train"]) & set(found["test"])
    assert len(found["train"]) + len(found["test"]) == 20 * len(severities)
    assert len(set(found["test"])) == 4
