"""What the owner of files says is understood as people write it, or refused with an example."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from saf.data.formats.settings import Layout, Size, ValueRange


@pytest.mark.parametrize(
    ("setting", "written", "understood"),
    [
        (Layout, "nhwc", "N H W C"),
        (Layout, "N, T, C", "N T C"),
        (Layout, None, None),
        (ValueRange, "0..255", "0..255"),
        (ValueRange, " -1 … 1 ", "-1..1"),
        (ValueRange, "0..1e-5", "0..1e-05"),
        (ValueRange, "-1.5E3...5", "-1500..0.5"),
        (Size, "32", "32x32"),
        (Size, "64×48", "64x48"),
    ],
)
def test_settings_are_understood_as_people_write_them(
    setting: Any, written: str | None, understood: str | None
) -> None:
    assert TypeAdapter(setting).validate_python(written) == understood


@pytest.mark.parametrize(
    ("setting", "written", "said"),
    [
        (Layout, "H W C", "N H W C"),
        (Layout, "N N C", "each axis once"),
        (ValueRange, "255..0", "0..255"),
        (ValueRange, "8 bit", "0..255"),
        (ValueRange, "1..1e999", "0..255"),
        (ValueRange, "-1e308..1e308", "0..255"),
        (ValueRange, "0..1e-320", "0..255"),
        (ValueRange, "1.2.3..4", "0..255"),
        (ValueRange, f"0..{'9' * 400}", "0..255"),
        (ValueRange, "0..", "0..255"),
        (ValueRange, "nan..inf", "0..255"),
        (Size, "0", "64x48"),
        (Size, "large", "64x48"),
    ],
)
def test_what_is_not_understood_is_answered_with_an_example(
    setting: Any, written: str, said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        TypeAdapter(setting).validate_python(written)
