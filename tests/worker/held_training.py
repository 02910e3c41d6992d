"""The real training, which stands still after its first checkpoint until it is killed; one that
goes on from a checkpoint does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from saf.training.events import Checkpoint, Report, Step
from worker.processes.child import _train, leave, main
from worker.processes.protocol import Order


def train(order: Order, stop: Callable[[], bool]) -> Iterator[Report]:
    holds = False
    for report in _train(order, stop):
        yield report
        holds = holds or (isinstance(report, Checkpoint) and order.resume_from is None)
        while holds and isinstance(report, Step) and not stop():
            time.sleep(0.01)


if __name__ == "__main__":
    leave(main(train))
