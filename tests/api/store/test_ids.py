"""The form of identifiers."""

from __future__ import annotations

import pytest

from api.store.ids import is_id, new_id


@pytest.mark.parametrize("kind", ["job", "ds", "usr", "up"])
def test_a_new_id_has_the_form_of_one(kind: str) -> None:
    assert is_id(new_id(kind))


@pytest.mark.parametrize(
    "name",
    ["", "anna", "usr_anna", "01k8x6v3m4t5w7y9z2b4d6f8h0", "usr_01k8x6v3m4t5w7y9z2b4d6f8h",
     "usr_01k8x6v3m4t5w7y9z2b4d6f8h0\n", "usr_91k8x6v3m4t5w7y9z2b4d6f8h0",
     "usr_01k8x6v3m4t5w7y9z2b4d6f8hu", "a.usr_01k8x6v3m4t5w7y9z2b4d6f8h0"],
)  # fmt: skip
def test_a_name_is_no_id(name: str) -> None:
    assert not is_id(name)
