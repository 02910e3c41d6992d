"""Text that others may have written, made safe to print.

What is taken out or replaced: control characters (C0, C1, escape sequences), line and paragraph
separators, marks that change the direction of text, characters without a shape. What is left moves
no cursor, ends no line and shows in the order in which it is stored.
"""

from __future__ import annotations

import json
import re
from typing import Any

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Zero-width joiner and non-joiner (U+200C, U+200D) stay: scripts and emoji need them.
_HARMFUL = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_ANY_BUT_LINES = re.compile(f"[{_HARMFUL}]")
_ANY = re.compile(f"[\t\n{_HARMFUL}]")
_SEQUENCE = r"(?:\x1b\[|\x9b)[0-9;:]{0,60}m"
_COLOUR = re.compile(_SEQUENCE)
_LINE_END = re.compile(r"\r+\n?")
_PART = r"(?:\x1b(?:\[[0-9;:]{0,60})?|\x9b[0-9;:]{0,60})"
# Carriage returns are one end of a line, also with colours between them.
_BEGUN = re.compile(rf"(?:\r(?:\r|{_SEQUENCE}){{0,200}}{_PART}?|{_PART})\Z")


def one_line(text: str) -> str:
    """A name or a cell: on one line, with U+FFFD in place of each harmful character."""
    return _ANY.sub(REPLACEMENT, text)


def lines(text: str) -> str:
    """A text of several lines, such as a log: tabs and ends of lines stay, colours go, a carriage
    return ends a line, and U+FFFD takes the place of every other harmful character."""
    text = _LINE_END.sub("\n", _COLOUR.sub("", text))
    return _ANY_BUT_LINES.sub(REPLACEMENT, text)


def escaped(text: str) -> str:
    """On one line, each harmful character as Python writes it in a string: `\\n`, `\\x9b`."""
    return _ANY.sub(lambda found: _escape(found.group()), text)


def json_escaped(text: str) -> str:
    """A JSON document with each harmful character of its strings as `\\u….`; its own line ends
    stay."""
    return _ANY_BUT_LINES.sub(lambda found: json.dumps(found.group())[1:-1], text)


def json_document(document: Any, encoding: str | None) -> str:
    """A document as JSON, in characters that a terminal does not obey and that the encoding has."""
    # A terminal that cannot show all characters gets them escaped: nothing of a document is lost.
    is_unicode = (encoding or "").lower().startswith("utf")
    return json_escaped(json.dumps(document, indent=2, ensure_ascii=not is_unicode))


class LineCleaner:
    """`lines` for a text that comes in pieces, which may end within a sequence."""

    def __init__(self) -> None:
        self._begun = ""

    def clean(self, piece: str) -> str:
        """The piece, but for a sequence that may go on in the next one."""
        text = self._begun + piece
        found = _BEGUN.search(text)
        self._begun = found.group() if found else ""
        return lines(text[: found.start()] if found else text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", errors="surrogatepass").decode()
