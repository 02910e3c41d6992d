"""A short form of `make chaos`: a few jobs and faults on either database, nothing violated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.cluster import ROOT
from tests.chaos.faults.choice import AT_REST, OUTAGES

JOBS, FAULTS = 8, 12


def report_of(directory: Path, *options: str, warm: bool = False) -> dict[str, Any]:
    """What a run that found nothing says; with a `warm` process waiting in each slot, or none."""
    told = subprocess.run(
        [
            *(sys.executable, "-m", "tests.chaos", "--seed", "2", "--out", str(directory)),
            *options,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SAF_WARM_PROCESSES": str(int(warm))},
    )
    assert told.returncode == 0, told.stdout + told.stderr
    report: dict[str, Any] = json.loads((directory / "report.json").read_text())
    assert report["violations"] == 0
    return report


@pytest.mark.timeout(1800)
def test_jobs_survive_what_is_broken_on_both_databases(tmp_path: Path) -> None:
    report = report_of(
        tmp_path,
        *("--jobs", str(JOBS), "--faults", str(FAULTS), "--every", "1.5"),
        *("--epochs", "6", "--pace", "30"),
    )

    assert report["jobs"] >= JOBS
    assert report["faults"] >= FAULTS
    assert {run["database"] for run in report["runs"]} == {"sqlite", "postgresql"}
    for run in report["runs"]:
        assert run["jobs"]["succeeded"] > 0
        assert sum(fault["injected"] > 0 for fault in run["faults"]) >= 5


@pytest.mark.timeout(1800)
def test_jobs_survive_damaged_and_removed_files_and_trainings_that_hang(tmp_path: Path) -> None:
    report = report_of(
        tmp_path,
        *("--database", "sqlite", "--bucket", "--every", "1"),
        *("--jobs", "4", "--faults", str(len(AT_REST))),
        *("--epochs", "6", "--pace", "30", "--only", *sorted(AT_REST)),
        warm=True,
    )

    (run,) = report["runs"]
    assert run["jobs"]["succeeded"] > 0
    assert all(fault["injected"] == 1 for fault in run["faults"])


@pytest.mark.timeout(1800)
def test_no_job_is_taken_from_its_worker_while_database_and_broker_alone_are_broken(
    tmp_path: Path,
) -> None:
    report = report_of(
        tmp_path,
        *("--jobs", "6", "--faults", "12", "--every", "1.5"),
        *("--pace", "100", "--lease", "10", "--only", *sorted(OUTAGES)),
    )

    assert report["faults"] >= 12
    for run in report["runs"]:
        assert run["jobs"]["succeeded"] > 0
