"""After jobs and cancels nothing is left of them; the long form is in `leaks.py`."""

from __future__ import annotations

from tests.acceptance.conftest import Service
from tests.acceptance.leaks import Run


def test_jobs_and_cancels_leave_no_process_file_connection_or_memory(own_service: Service) -> None:
    run = Run(own_service)
    run.go(jobs=2, cancels=2, seconds=120)
    assert run.problems() == [], run.lines()
    assert run.ended["cancelled"] == 2
