"""Cores that a process may use, and what its threads are told before torch is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from saf import cores
from saf.cores import prepare_threads, quota_of
from tests.waiting import PATIENCE


def group(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def test_the_smallest_quota_on_the_way_up_counts(tmp_path: Path) -> None:
    groups, mounted = tmp_path / "cgroup", tmp_path / "mounted"
    groups.write_text("0::/pods/job/training\n")
    group(mounted, {})
    group(mounted / "pods", {"cpu.max": "300000 100000\n"})
    group(mounted / "pods/job", {"cpu.max": "150000 100000\n"})
    group(mounted / "pods/job/training", {"cpu.max": "max 100000\n"})
    assert quota_of(groups, mounted) == 1.5


def test_the_quota_of_a_container_that_sees_its_own_group_alone(tmp_path: Path) -> None:
    groups, mounted = tmp_path / "cgroup", tmp_path / "mounted"
    groups.write_text("0::/docker/0123\n")  # of the machine, where the container has no name for it
    group(mounted, {"cpu.max": "200000 100000\n"})
    assert quota_of(groups, mounted) == 2.0


def test_the_first_version_of_control_groups_is_read(tmp_path: Path) -> None:
    groups, mounted = tmp_path / "cgroup", tmp_path / "mounted"
    groups.write_text("5:cpu,cpuacct:/docker/0123\n4:memory:/docker/0123\n")
    files = {"cpu.cfs_quota_us": "400000\n", "cpu.cfs_period_us": "100000\n"}
    group(mounted / "cpu,cpuacct", {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"})
    group(mounted / "cpu,cpuacct/docker/0123", files)
    assert quota_of(groups, mounted) == 4.0


@pytest.mark.parametrize("text", ["0::/\n", "", "0::/elsewhere\n"])
def test_without_a_quota_nothing_is_limited(tmp_path: Path, text: str) -> None:
    groups, mounted = tmp_path / "cgroup", tmp_path / "mounted"
    groups.write_text(text)
    group(mounted, {"cpu.max": "max 100000\n"})
    assert quota_of(groups, mounted) is None
    assert quota_of(tmp_path / "missing", mounted) is None


def test_a_quota_bounds_the_cores_and_the_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    for folder in (tmp_path, tmp_path / "cpu"):
        group(
            folder,
            {
                "cpu.max": "350000 100000",
                "cpu.cfs_quota_us": "350000",
                "cpu.cfs_period_us": "100000",
            },
        )
    monkeypatch.setattr(cores, "_upwards", lambda mounted, _path: iter([mounted]))
    assert cores.cores() == 3
    environment: dict[str, str] = {}
    prepare_threads(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "3"}


def test_what_somebody_has_set_stays() -> None:
    environment = {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "7"}
    prepare_threads(environment)
    assert environment == {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "7"}


@pytest.mark.skipif(sys.platform != "linux", reason="other libraries have other displays")
def test_the_threads_of_saf_train_do_not_spin(tmp_path: Path) -> None:
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("OMP_")}
    command = [
        sys.executable,
        "-m",
        "saf.cli",
        "train",
        "--dataset",
        "digits",
        "--epochs",
        "1",
    ]
    command += ["--set", "batch_size=1400", "--set", "timesteps=1", "--network", "mlp"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)],
        env={**environment, "OMP_DISPLAY_ENV": "VERBOSE"},  # asks OpenMP what it has read
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
    assert "GOMP_SPINCOUNT = '0'" in done.stderr
