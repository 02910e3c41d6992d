"""Jobs and artifact stores, as the tests of the store have them."""

from tests.api.store.conftest import store, submit, submit_to

__all__ = ["store", "submit", "submit_to"]
