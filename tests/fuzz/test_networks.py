from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_hostile_networks_end_in_one_line_within_bounds() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.networks", "--inputs", "60", "--seed", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "violations 0" in found.stdout
