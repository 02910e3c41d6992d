"""What the tests of arrays share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saf.data import read
from saf.errors import DataError


@pytest.fixture
def refused() -> Callable[..., None]:
    """`refused(path, says, remedy, **settings)`: reading is refused with these words."""

    def check(path: Path, says: str, remedy: str, **settings: Any) -> None:
        with pytest.raises(DataError) as caught:
            read(path, settings=settings)
        assert says in str(caught.value), str(caught.value)
        assert remedy in caught.value.hint, caught.value.hint

    return check
