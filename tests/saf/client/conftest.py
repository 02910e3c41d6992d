"""The service, as the tests of the API have it."""

from tests.api.conftest import server, shared

__all__ = ["server", "shared"]
