"""What is told of a machine has no folders of it."""

from __future__ import annotations

import pytest

from saf.redaction import without_folders


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/srv/readers/spyx-1a/bin/python has no spyx", "…/python has no spyx"),
        ("run it (x; /root/.cache/saf/spyx.log has all)", "run it (x; …/spyx.log has all)"),
        ("No space left on device: '/srv/my jobs/a.bin'", "No space left on device: '…/a.bin'"),
        ("Command '['/opt/bin/python', '-P']' ended", "Command '['…/python', '-P']' ended"),
        ("λ in 1/4096, u / V, and/or", "λ in 1/4096, u / V, and/or"),
        ("https://example.org/a/b says so", "https://example.org/a/b says so"),
    ],
)
def test_of_a_path_the_name_alone_is_left(text: str, told: str) -> None:
    assert without_folders(text) == told
