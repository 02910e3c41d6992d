"""UCI HAR as it is distributed: a text for each channel and split."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from saf.data import read
from saf.errors import DataError

Pack = Callable[[Mapping[str, bytes], str], Path]
TOP = "UCI HAR Dataset"
CHANNELS = ("body_acc_x", "body_gyro_z", "total_acc_y")
NAMES = ("WALKING", "SITTING", "LAYING")
GENERATOR = np.random.default_rng(3)
VALUES = {split: GENERATOR.normal(size=(n, 8, 3)) for split, n in (("train", 12), ("test", 6))}


def text(values: np.ndarray) -> bytes:
    buffer = io.StringIO()
    np.savetxt(buffer, values, fmt=" %.7e")
    return buffer.getvalue().encode()


def har() -> dict[str, bytes]:
    files = {
        f"{TOP}/README.txt": b"Human Activity Recognition\n====\n",
        f"{TOP}/features.txt": b"".join(b"%d f%d\n" % (n, n) for n in range(1, 30)),
        f"{TOP}/activity_labels.txt": b"1 WALKING\n2 SITTING\n3 LAYING\n",
    }
    for split, values in VALUES.items():
        count = len(values)
        place = f"{TOP}/{split}"
        files[f"{place}/X_{split}.txt"] = text(np.zeros((count, 29)))
        files[f"{place}/y_{split}.txt"] = b"".join(b"%d\n" % (n % 3 + 1) for n in range(count))
        files[f"{place}/subject_{split}.txt"] = b"7\n" * count
        for channel, name in enumerate(CHANNELS):
            signal = text(values[:, :, channel])
            files[f"{place}/Inertial Signals/{name}_{split}.txt"] = signal
    return files


def test_the_signals_are_series_with_the_published_split_and_names(pack: Pack) -> None:
    data = read(pack(har(), "zip"))
    assert data.class_names == NAMES
    for split, values in VALUES.items():
        assert np.allclose(getattr(data, f"x_{split}"), values, atol=1e-6)
        assert getattr(data, f"y_{split}").tolist() == [n % 3 for n in range(len(values))]
    told = {decision.value for decision in data.decisions}
    assert f"channels: {', '.join(CHANNELS)}" in told
    assert any(value.startswith("left out:") and "X_train.txt" in value for value in told)


def spoiled(name: str, content: bytes | None) -> dict[str, bytes]:
    files = har()
    full = next(each for each in files if each.endswith(name))
    files.pop(full)
    return files | ({full: content} if content is not None else {})


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("body_acc_x_test.txt", None, "the signal body_acc_x of one split alone"),
        ("body_acc_x_train.txt", b"1 2 3\n" * 12, "12 lines of 8 numbers"),
        ("body_acc_x_train.txt", b"1 2 3\n1 2\n", "line 2: 3 finite numbers"),
        ("total_acc_y_test.txt", b"1 nan\n" * 6, "line 1: 2 finite numbers"),
        ("y_train.txt", b"1\n2\n3\n", "3 of 8 are expected"),
        ("y_train.txt", None, "no y_train.txt"),
        ("y_test.txt", b"1.5\n" * 6, "no class number a line"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(
    name: str, content: bytes | None, says: str, pack: Pack
) -> None:
    with pytest.raises(DataError, match=says):
        read(pack(spoiled(name, content), "zip"))


def test_the_features_alone_are_refused_with_what_to_send(pack: Pack) -> None:
    files = {name: blob for name, blob in har().items() if "Inertial" not in name}
    with pytest.raises(DataError, match="nothing says what they are in time") as caught:
        read(pack(files, "zip"))
    assert "Inertial Signals" in caught.value.hint
