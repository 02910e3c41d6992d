"""Modules are imported without the garbage collector, which works again afterwards."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

import pytest

from saf.imports import uncollected


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    was_enabled = gc.isenabled()
    yield
    gc.enable() if was_enabled else gc.disable()


@pytest.mark.parametrize("is_enabled", [True, False])
def test_nothing_is_collected_meanwhile_and_all_is_as_before_at_the_end(is_enabled: bool) -> None:
    gc.enable() if is_enabled else gc.disable()
    seen = []
    with contextlib.suppress(ModuleNotFoundError), uncollected():
        seen.append(gc.isenabled())
        raise ModuleNotFoundError
    assert seen == [False]
    assert gc.isenabled() == is_enabled


def test_what_was_imported_is_never_looked_through_again() -> None:
    with uncollected():
        made = ["as a module would hold it"]
    assert gc.get_freeze_count() > 0
    assert not any(made is one for one in gc.get_objects())
