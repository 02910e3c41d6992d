"""A short form of `make chaos`: a few jobs and faults on either database, nothing violated."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.cluster import ROOT

JOBS, FAULTS = 10, 14


@pytest.mark.timeout(900)
def test_jobs_survive_what_is_broken_on_both_databases(tmp_path: Path) -> None:
    told = subprocess.run(
        [
            *(sys.executable, "-m", "tests.chaos", "--seed", "2", "--out", str(tmp_path)),
            *("--jobs", str(JOBS), "--faults", str(FAULTS), "--every", "1.5"),
            *("--epochs", "6", "--pace", "30"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 0, told.stdout + told.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["violations"] == 0
    assert report["jobs"] >= JOBS
    assert report["faults"] >= FAULTS
    assert {run["database"] for run in report["runs"]} == {"sqlite", "postgresql"}
    for run in report["runs"]:
        assert run["jobs"]["succeeded"] > 0
        assert sum(fault["injected"] > 0 for fault in run["faults"]) >= 5
