"""A short run of the fuzzer, in a process of its own, and whether it can find anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def fuzz(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    program = f"{before}\nimport sys\nfrom tests.fuzz import readers\nsys.exit(readers.main())"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_damaged_and_hostile_files_are_refused_clearly_within_bounds() -> None:
    found = fuzz("--inputs", "126", "--seed", "1", "--interpreter-every", "42")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "violations 0" in found.stdout


BROKEN = """
from saf.processes import check_dataset as check; from saf.data.formats import detect as reading
def read(path, *arguments, **options):
    {statement}
check.read = read
check.detect = lambda path, limits: "npz"
"""


def test_the_fuzzer_sees_a_crash_a_file_outside_and_too_much_memory() -> None:
    for statement, says in (
        ("raise AttributeError('a defect')", "crashed"),
        ("open('/tmp/outside', 'w')", "OUTSIDE: open"),
        ("__import__('pickle').loads(b'cos\\nsystem\\n.')", "OUTSIDE: pickle"),
        ("raise check.DataError(str(len(b'x' * 600 * 2**20)), hint='h')", "MiB"),
        ("raise check.DataError('no hint')", "no clear problem"),
    ):
        found = fuzz(
            *("--inputs", "1", "--interpreter-every", "0", "--kind", "npz"),
            before=BROKEN.format(statement=statement),
        )
        assert found.returncode == 1, found.stdout + found.stderr
        assert says in found.stdout
