"""Data sets that are larger than the memory that there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from saf.data import Dataset, Limits, save
from saf.data.formats.format import FORMATS
from saf.data.sources import scratch
from saf.data.sources.archive import SingleFile
from saf.errors import DataError

MIB = 2**20
OWN = 80 * MIB  # memory beyond what a program takes that does nothing
SIZE = 5 * OWN

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")


def bound(own: int) -> str:
    """Lines of a program that give it `own` bytes beyond what it holds where they are run."""
    return (
        "import resource, sys\n"
        "words = next(l for l in open('/proc/self/status') if l.startswith('VmData')).split()\n"
        f"most = int(words[1]) * 1024 + {own}\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (most, most))\n"
    )


def images(count: int) -> np.ndarray:
    """`count` × 1 × 128 × 128 bytes, no two alike, with few random numbers."""
    noise = np.random.default_rng(0).integers(0, 256, 4 * 128 * 128, np.uint8)
    return np.stack([noise[i : i + 128 * 128].reshape(1, 128, 128) for i in range(count)])


def test_a_set_of_five_times_the_memory_is_checked_and_previewed_and_trained_on(
    tmp_path: Path,
) -> None:
    x = images(SIZE // 128**2)
    x[::2, :, :, :64] //= 4
    y = np.arange(len(x)) % 2
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y, x_test=x[:20] // 2, y_test=y[:20])
    del x
    check = (
        "import saf.processes.check_dataset as process, saf.data.formats.detect as d, PIL.Image\n"
        "d.FORMATS.names()\n" + bound(OWN) + "sys.exit(process.main(sys.argv[1:] + "
        "['--max-memory-bytes', str(most)]))"
    )
    files = [str(tmp_path / name) for name in ("d.npz", "kept", "result", "picture")]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-c", check, *files[:2], "--result", files[2], "--preview", files[3]],
        env=environment,
        check=True,
    )
    verdict = json.loads((tmp_path / "result").read_text())
    assert verdict["ok"], verdict
    assert verdict["preview"] is not None
    assert verdict["summary"]["findings"] is not None
    assert (tmp_path / "kept").stat().st_size > SIZE
    (tmp_path / "d.npz").unlink()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("saf-")] == []
    # OpenBLAS, which the linear baseline calls, takes 32 MiB for itself, and ends the program if
    # it does not get them.
    training = (
        "import torch, saf, saf.training.loop\n"
        "from saf.data import load\n"
        "torch.set_num_threads(1)\n" + bound(2 * OWN) + "data = load(sys.argv[1])\n"
        "job = saf.JobSpecification.model_validate({'dataset': 'd', 'timesteps': 2, 'epochs': 1,\n"
        "    'batch_size': 32, 'network': {'name': 'mlp', 'features': [4]}})\n"
        "print(*[type(report).__name__ for report in saf.train(job, data, sys.argv[2])][-1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", training, str(tmp_path / "kept"), str(tmp_path / "out")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["Finished"], done.stderr[-2000:]


def test_large_arrays_lie_in_a_file_that_no_directory_lists(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    source = SingleFile(tmp_path / "x", Limits(), "")
    source.scratch = tmp_path
    x = source.allocate("x", (17, 1, 1024, 1024), np.uint8)
    assert not x.any()
    x[3] = 7
    assert x[3].all()
    assert f"{tmp_path}/" in Path("/proc/self/maps").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    small = source.allocate("x", (2, 1, 8, 8), np.float32, "F")
    assert small.flags.f_contiguous
    large = source.allocate("x", (17, 1, 1024, 1024), np.uint8, "F")
    assert large.shape == (17, 1, 1024, 1024)
    assert large.flags.f_contiguous
    del x, large
    assert f"{tmp_path}/" not in Path("/proc/self/maps").read_text()


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no room for") as caught:
        scratch.mapped(tmp_path, (2**50,), np.uint8)
    assert "TMPDIR" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_equal_sets_are_one_file_whatever_they_came_from(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (20, 1, 1024, 1024), np.uint8)
    y = np.arange(20) % 2
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    read = FORMATS["npz"]().read
    from saf.data.sources.archive import Zip

    source = Zip(tmp_path / "d.npz", Limits())
    found = save(read(source, Limits()), tmp_path / "a")
    direct = Dataset(x_train=x, y_train=y, x_test=x[:2], y_test=y[:2], class_names=("0", "1"))
    assert save(direct, tmp_path / "b") == found
