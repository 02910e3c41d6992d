"""What others wrote cannot steer a terminal, however it comes in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saf.printable import LineCleaner, escaped, json_escaped, lines, one_line

HOSTILE = [
    "\n",
    "\r",
    "\r\n",
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x9b31m",
    "\x85",
    "\x00",
    "\x7f",
    "\u2028",
    "\u2029",
    "\u202e",
    "\u2066",
    "\u200f",
    "\u200b",
    "\ufeff",
    "\U000e0041",
    "\ud800",
]
KEPT = ["Zürich", "日本　語", "می‌خواهم", "👨‍👩‍👧", "naïve – “quoted”", "a\u00a0b", "שלום"]


@pytest.mark.parametrize("text", KEPT)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert one_line(text) == lines(text) == escaped(text) == json_escaped(text) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_a_terminal_obeys_or_that_ends_a_line_is_left(text: str) -> None:
    for clean in (one_line(f"a{text}b"), escaped(f"a{text}b")):
        assert len(clean.splitlines()) == 1
        assert clean.isprintable()
        assert clean.startswith("a")
        assert clean.endswith("b")
    left = lines(f"a{text}b").replace("\n", "")
    assert left.isprintable()


def test_an_escape_says_which_character_it_was() -> None:
    assert escaped("a\nb\x9bc\u202ed\U000e0041") == r"a\nb\x9bc\u202ed\U000e0041"


def test_a_log_loses_its_colours_and_keeps_its_lines() -> None:
    printed = "\x1b[1;31mred\x1b[0m\tend\r\n 10%\r 20%\r\nnext\x1b[2J"
    assert lines(printed) == "red\tend\n 10%\n 20%\nnext\N{REPLACEMENT CHARACTER}[2J"


@given(
    st.lists(st.sampled_from(["\r", "\n", "\x1b", "[", "31", "m", "\x9b", "x", "é"]), max_size=30)
)
def test_a_log_in_pieces_is_cleaned_like_the_whole(pieces: list[str]) -> None:
    cleaner = LineCleaner()
    cleaned = "".join(cleaner.clean(piece) for piece in pieces) + cleaner.clean("end")
    assert cleaned == lines("".join(pieces) + "end")
    assert lines(cleaned) == cleaned


@given(st.text())
def test_an_escaped_document_holds_the_same_values(text: str) -> None:
    written = json_escaped(json.dumps({"name": text}, indent=2, ensure_ascii=False))
    assert json.loads(written) == {"name": text}
    assert lines(written) == written


def test_carriage_returns_with_colours_between_them_are_one_end_of_a_line() -> None:
    cleaner = LineCleaner()
    pieces = ["a\r", "\x9b", "m", "\r", "\x1b[31m\n", "b"]
    assert "".join(map(cleaner.clean, pieces)) == "a\nb" == lines("".join(pieces))
