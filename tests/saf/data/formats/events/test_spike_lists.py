"""Lists of spikes in HDF5: SHD and SSC."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from saf.data import detect, read
from saf.errors import DataError
from tests.saf.data.recordings import (
    shd,
    spikes,
)

Pack = Callable[[Mapping[str, bytes], str], Path]


@pytest.mark.parametrize("packed", [False, True])
def test_shd_is_read_as_it_is_distributed(packed: bool, pack: Pack) -> None:
    files = shd()
    if packed:
        files = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    path = pack(files, "zip")
    assert detect(path) == "spiking-hdf5"
    data = read(path)
    assert data.x_train.shape == (6, 100, 700, 1, 1)
    assert (data.class_names, data.unit) == (("zero", "one", "zwölf"), 1)
    assert data.y_test.tolist() == [2, 1, 0]
    assert data.x_train.sum(axis=(1, 2, 3, 4)).tolist() == [30] * 6
    step, unit = np.nonzero(data.x_train[2][:, :, 0, 0])
    assert unit[np.argsort(step)].tolist() == [7 * j + 2 for j in range(30)]
    assert (step[0], step[-1]) == (1, 99)
    assert any("steps of 2.949 ms" in d.why for d in data.decisions)


def test_ssc_has_a_validation_split_and_steps_of_a_stated_length(pack: Pack) -> None:
    files = {f"ssc_{split}.h5": spikes([0, 1, 2]) for split in ("train", "valid", "test")}
    data = read(pack(files, "tar"), "spiking-hdf5", settings={"step_ms": 20})
    assert data.x_val is not None
    assert data.x_val.shape == (3, 15, 700, 1, 1)
    assert data.x_train[0].sum(axis=(1, 2, 3)).tolist() == [2] * 15
    short = read(pack(files, "tar"), "spiking-hdf5", settings={"step_ms": 20, "timesteps": 5})
    assert short.x_train.sum() == 3 * 10
    assert any("left out" in decision.why for decision in short.decisions)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (spikes([0, 1, 2])[:-200], "damaged"),
        (spikes([0, 1, 2], times=np.full(30, np.nan)), "times"),
        (spikes([0, 1, 2], times=np.full(30, -1.0)), "negative times"),
        (spikes([0, 1, 2], times=np.full(30, np.inf)), "infinite times"),
        (spikes([0, 1, 2], times=np.zeros(29)), "29 times and 30 units"),
        (spikes([0, 1, 2], units=np.full(30, 5000)), "unit 5000"),
        (b"\x89HDF\r\n\x1a\n", "damaged"),
    ],
)
def test_broken_lists_of_spikes_are_refused(content: bytes, says: str, pack: Pack) -> None:
    with pytest.raises(DataError) as caught:
        read(pack(shd(shd_test=content), "zip"))
    assert says in str(caught.value)
    assert caught.value.hint


def test_what_a_file_of_spikes_links_to_is_not_read(pack: Pack, tmp_path: Path) -> None:
    import h5py

    (tmp_path / "secret").write_bytes(np.arange(3, dtype=np.uint16).tobytes())

    def changed(change: Callable[[Any], None]) -> bytes:
        out = io.BytesIO(spikes([0, 1, 2]))
        with h5py.File(out, "r+") as file:
            del file["labels"]
            change(file)
        return out.getvalue()

    def external(file: Any) -> None:
        file.create_dataset("labels", (3,), np.uint16, external=[(str(tmp_path / "secret"), 0, 6)])

    def link(file: Any) -> None:
        file["labels"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "labels")

    def soft(file: Any) -> None:
        file["labels"] = h5py.SoftLink("/extra/speaker")

    def virtual(file: Any) -> None:
        layout = h5py.VirtualLayout((3,), np.uint16)
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "labels", (3,))
        file.create_virtual_dataset("labels", layout)

    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["labels"] = np.arange(3, dtype=np.uint16)
    for change, says in (
        (external, "lie in other files"),
        (virtual, "lie in other files"),
        (link, "links are not followed"),
        (soft, "links are not followed"),
    ):
        with pytest.raises(DataError, match=says):
            read(pack(shd(shd_train=changed(change)), "zip"))


def test_spikes_without_h5py_say_which_package_is_missing(
    pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(shd(), "zip")
    monkeypatch.setattr("saf.data.formats.format.find_spec", lambda package: None)
    with pytest.raises(DataError, match="needs the package h5py"):
        read(path)


def lists(labels: list[int], keys: list[bytes] | None = None) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for path, dtype in (("spikes/times", np.float32), ("spikes/units", np.uint16)):
            values = file.create_dataset(path, (len(labels),), h5py.vlen_dtype(dtype))
            for row in range(len(labels)):
                values[row] = (
                    np.array([row / 10 + 0.1, 1.0], dtype) if dtype == np.float32 else [3, 5]
                )
        file["labels"] = np.array(labels)
        if keys:
            file["extra/keys"] = np.array(keys)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("labels", "keys", "names"),
    [
        ([1, 2, 3] * 2, None, ("1", "2", "3")),
        ([0, 5, 9] * 2, None, ("0", "5", "9")),
        ([1, 2, 3] * 2, [b"a", b"b", b"c"], ("a", "b", "c")),
        ([0, 1, 2] * 2, [b"a", b"b", b"c"], ("a", "b", "c")),
    ],
)
def test_classes_of_lists_of_spikes_are_those_that_occur_or_are_named(
    labels: list[int], keys: Any, names: tuple[str, ...], pack: Pack
) -> None:
    files = {"my_train.h5": lists(labels, keys), "my_test.h5": lists(labels[:3], keys)}
    data = read(pack(files, "zip"))
    assert data.class_names == names
    assert data.y_train.tolist() == [0, 1, 2, 0, 1, 2]


def test_files_of_spikes_that_name_other_classes_are_refused(pack: Pack) -> None:
    files = {
        "my_train.h5": lists([0, 1] * 3, [b"a", b"b"]),
        "my_test.h5": lists([0, 1], [b"b", b"a"]),
    }
    with pytest.raises(DataError, match="name different classes"):
        read(pack(files, "zip"))


def test_times_that_are_no_seconds_do_not_fit_a_step_in_ms(pack: Pack) -> None:
    times = np.arange(30) * 10.0 + 5000
    path = pack(shd(shd_train=spikes([0, 1, 2], times=times)), "zip")
    for settings in ({"step_ms": 10}, {"step_ms": 10, "timesteps": 100}):
        with pytest.raises(DataError, match="seem to be in ms"):
            read(path, settings=settings)
