"""`python -m tests.chaos`: break the service on purpose and check what is left.

Ends with 0 when nothing was violated.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import get_args

from tests.chaos.cluster import Kind, Times
from tests.chaos.disk import own_mounts
from tests.chaos.report import write
from tests.chaos.run import Plan, run


def main() -> int:
    """Run as the command line says."""
    no_disks = own_mounts()  # before there is any thread
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200, help="at least so many, all databases")
    parser.add_argument("--faults", type=int, default=300, help="so many, all databases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", choices=[*get_args(Kind), "both"], default="both")
    parser.add_argument("--bucket", action="store_true", help="artifacts in S3 (moto's server)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10, help="of each training")
    parser.add_argument("--pace", type=int, default=40, help="ms that a step rests")
    parser.add_argument("--every", type=float, default=4.0, help="seconds between two faults")
    parser.add_argument("--lease", type=float, default=Times.lease_seconds, help="in seconds")
    parser.add_argument("--out", type=Path, default=Path("build/chaos"), help="for the report")
    parser.add_argument("--only", nargs="*", default=[], help="kinds of faults; all else")
    parser.add_argument("--keep", action="store_true", help="keep databases, files and logs")
    given = parser.parse_args()
    kinds: list[Kind] = list(get_args(Kind)) if given.database == "both" else [given.database]
    place = Path(tempfile.mkdtemp(prefix="saf-chaos-"))
    reports = []
    for number, kind in enumerate(kinds):
        plan = Plan(
            jobs=-(-given.jobs // len(kinds)),
            faults=-(-given.faults // len(kinds)),
            seed=given.seed + number,
            database=kind,
            workers=given.workers,
            epochs=given.epochs,
            pace_ms=given.pace,
            fault_seconds=given.every,
            disks=not no_disks,
            bucket=given.bucket,
            kinds=tuple(given.only),
            times=Times(lease_seconds=given.lease),
        )
        reports.append(run(plan, place / kind, say=True))
        print(write(reports, given.out), flush=True)
    violated = any(report.violations for report in reports)
    if given.keep or violated:
        print(f"databases, files and logs are in {place}")
    else:
        shutil.rmtree(place)
    return 1 if violated else 0


if __name__ == "__main__":
    sys.exit(main())
