"""A part of what `python -m tests.acceptance.edge` asks, against a server process."""

from __future__ import annotations

import os

import pytest

from tests.acceptance.edge import MIB, MOST_GROWTH, fill, is_bad, provoke, target

SHARE = float(os.environ.get("SAF_HOSTILE_SHARE", "0.015"))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_no_request_is_answered_500_or_costs_more_than_it_may(kind: str) -> None:
    with target(kind) as server:
        known = fill(server, jobs=100, points=20_000, log_lines=20_000)
        before = server.peak_bytes
        tallies = provoke(server, known, seed=1, share=SHARE)
        assert server.process.poll() is None
        growth = server.peak_bytes - before
    assert sum(tally.tried for tally in tallies.values()) > 100
    assert [name for name, tally in tallies.items() if is_bad(tally)] == []
    assert growth < MOST_GROWTH, f"{growth / MIB:.0f} MiB"
