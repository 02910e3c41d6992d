"""The service, as the tests of the API have it."""

import pytest

from tests.api.conftest import server, shared

__all__ = ["server", "shared"]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """A command knows the service by its answers, which tests/api compares on both databases."""
    return sqlite_url
