"""A lab of the test's own, on either database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.accounts.people import Lab, make_lab, with_keys
from tests.api.conftest import serving


@pytest.fixture
def own_lab(tmp_path: Path, database_url: str) -> Iterator[Lab]:
    with serving(with_keys(tmp_path, database_url)) as server:
        yield make_lab(server)
