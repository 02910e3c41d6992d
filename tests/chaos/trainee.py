"""The real training process, watched: it has a witness, rests after each step, and hangs where the
suite asks for it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from saf.training.events import Report, Started, Step
from tests.chaos.checks.witness import Witness
from tests.chaos.recipes import PACE
from worker.processes import child
from worker.processes.protocol import MARK, Order


def train(order: Order, stop: Callable[[], bool]) -> Iterator[Report]:
    """`worker.processes.child`'s own, report by report."""
    scratch = Path(os.environ[MARK])
    job_id, _, attempt = scratch.name.rpartition("-")
    evidence = next(path for folder in scratch.parents if (path := folder / "evidence").is_dir())
    witness = Witness(evidence, job_id, int(attempt))
    pace = float(order.specification["metadata"].get(PACE, "0")) / 1000
    with witness.alone():
        for report in child._train(order, stop):
            if isinstance(report, Started):
                witness.say("resumed", step=report.step)
            yield report
            if isinstance(report, Step):
                witness.hang_if_told(step=report.step)
                time.sleep(pace)


if __name__ == "__main__":
    sys.exit(child.main(train))
