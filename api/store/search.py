"""Search of texts: without case, one spelling of each letter, words in any order."""

from __future__ import annotations

import unicodedata


def folded(text: str) -> str:
    """The text without case in any alphabet, and with one spelling of each letter.

    Texts that differ in case or in Unicode normalisation only have the same (`É`, `é` and `e` with
    an accent of its own; `STRASSE` and `straße`).
    """
    if text.isascii():
        return text.lower()
    once = unicodedata.normalize("NFKD", text).casefold()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", once).casefold())


def words(text: str) -> list[str]:
    """The words of a search, folded; all of them have to be found, in any order."""
    return list(dict.fromkeys(folded(text).split()))
