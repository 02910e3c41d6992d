"""Which lane a test runs in: `make test-fast` leaves out what is marked `slow`.

A test lands in its lane by itself: by the folder it is in and by the servers its fixtures start.
One that takes more than 2 seconds for another reason carries the mark itself; `make test-fast` ends
with a list of those that would deserve it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SLOW_FOLDERS = {"acceptance", "browser", "chaos", "fuzz", "worker"}
SLOW_FIXTURES = {"postgres", "own_server", "s3", "browser"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_slow(item):
            item.add_marker(pytest.mark.slow)


def is_slow(item: pytest.Item) -> bool:
    folder = item.path.relative_to(TESTS).parts[0]
    fixtures = set(getattr(item, "fixturenames", ()))
    # Which database a test runs on is a parameter, not a fixture that it names.
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return (
        folder in SLOW_FOLDERS
        or bool(SLOW_FIXTURES & fixtures)
        or "postgresql" in parameters.values()
        or "bucket" in parameters.values()
    )
