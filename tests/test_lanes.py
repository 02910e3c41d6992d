"""Which lane a test is in, and the order in which processes that share the tests take files."""

from __future__ import annotations

from pathlib import Path

from tests.api.webhooks.test_turns import lab_that_sends
from tests.lanes import COMPUTING, PROCESSES, TESTS, WAITING, is_in, names, places_of


def in_order() -> list[Path]:
    places = places_of(sorted(TESTS.rglob("test_*.py")))
    return [file for file in sorted(places, key=places.__getitem__) if places[file] >= 0]


def test_every_folder_has_a_place() -> None:
    left_out = {file for file in TESTS.rglob("test_*.py") if file.parent != TESTS} - {*in_order()}
    assert not left_out


def test_what_takes_minutes_comes_first_and_what_waits_is_spread_among_what_computes() -> None:
    files = in_order()
    assert is_in(files[0], "docs")
    waits = [any(is_in(file, folder) for folder in WAITING) for file in files]
    tenth = len(files) // 10
    shares = [sum(waits[start : start + tenth]) / tenth for start in range(0, 7 * tenth, tenth)]
    assert all(0 < share < 0.5 for share in shares), shares
    assert not any(waits[-2 * tenth :])


def test_long_trainings_come_before_the_rest_of_the_library() -> None:
    computing = [f for f in in_order() if any(is_in(f, folder) for folder in COMPUTING)]
    last = max(n for n, file in enumerate(computing) if is_in(file, "saf/training"))
    assert last < len(computing) / 4


def test_who_starts_a_server_by_a_context_of_another_file_starts_one() -> None:
    def test(tmp_path: Path) -> None:
        with lab_that_sends(tmp_path):
            pass

    assert names(test) & PROCESSES == {"serving"}
