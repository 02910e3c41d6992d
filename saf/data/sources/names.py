"""In which encoding a zip archive names its files, where it does not say so.

Names without the UTF-8 flag are in UTF-8 (macOS Finder), or in the code page of whoever packed
them: 437 or 850 in the West, 932 in Japan, 936 in China, … An encoding is plausible if all names of
the archive decode to letters of its script.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise

UTF8 = "utf-8"
_LATIN = ("cp437", "cp850", "cp1252")
_ANSI = frozenset({"cp1251", "cp1252"})
_OTHERS: dict[str, str] = {
    "cp932": "CJK",  # Shift-JIS
    "gbk": "CJK",
    "big5": "CJK",
    "cp949": "HANGUL",
    "cp866": "CYRILLIC",
    "cp1251": "CYRILLIC",
    "cp737": "GREEK",
}
_PUNCTUATION = frozenset("·–—’´°ªº「」『』（）【】、。・ー～〜々〆　")


def encodings(raw: Collection[bytes]) -> tuple[str, ...]:
    """The encodings that names may be in, the best first: one where it is plain."""
    odd = sorted({name for name in raw if not name.isascii()})
    if not odd or _decoded(odd, UTF8) is not None:
        return (UTF8,)
    common: list[str] = []
    possible: list[str] = []
    seen: set[tuple[str, ...]] = set()
    for encoding in (*_OTHERS, *_LATIN):
        names = _decoded(odd, encoding)
        if names is None or tuple(names) in seen:
            continue
        if encoding in _LATIN:
            fits, usual = _is_latin(names), True
        else:
            fits = _is_of(names, _OTHERS[encoding])
            usual = fits and _is_usual(names, encoding)
        if fits:
            seen.add(tuple(names))
            (common if usual else possible).append(encoding)
    found = common or possible or [_LATIN[0]]
    # A backslash inside a letter of two bytes is none; zip programs write the pages of consoles.
    whole = [e for e in found if not any("\\" in name for name in _decoded(odd, e) or ())]
    found = whole or found
    found = [encoding for encoding in found if encoding not in _ANSI] or found
    return tuple(found)


def _decoded(raw: Iterable[bytes], encoding: str) -> list[str] | None:
    try:
        return [name.decode(encoding) for name in raw]
    except UnicodeDecodeError:
        return None


def _words(names: Sequence[str]) -> Iterable[str]:
    """Runs of letters that hold more than ASCII; "" for a name with what no name has."""
    for name in names:
        word = ""
        for character in name:
            category = unicodedata.category(character)
            if not character.isascii() and category[0] not in "LMN":
                if character not in _PUNCTUATION:
                    yield ""
                character = " "
            if character.isalpha() or category[0] == "M":
                word += character
            elif word:
                yield word
                word = ""
        if word:
            yield word


def _scripts(word: str) -> set[str]:
    return {unicodedata.name(character, "?").split(" ")[0] for character in word}


def _is_latin(names: Sequence[str]) -> bool:
    """Whether all words are Latin, and change from small to capital letters nowhere."""
    for word in _words(names):
        if not word or not _scripts(word) <= {"LATIN"}:
            return False
        if not word.isascii() and _changes_case(word):
            return False
    return True


def _changes_case(word: str) -> bool:
    return any(a.islower() and b.isupper() for a, b in pairwise(word))


def _is_of(names: Sequence[str], script: str) -> bool:
    """Whether all words that are more than ASCII are of one script."""
    known = {script, "KATAKANA-HIRAGANA", "IDEOGRAPHIC"}
    if script == "CJK":
        known |= {"HIRAGANA", "KATAKANA", "FULLWIDTH"}
    for word in _words(names):
        if not word:
            return False
        if not word.isascii() and not _scripts(word) <= known:
            return False
    return True


def _is_usual(names: Sequence[str], encoding: str) -> bool:
    """Whether the letters are those that are written often: kana and the first level of kanji, of
    hanzi, or Hangul of the Korean standard; of Cyrillic and Greek, words of usual case."""
    text = "".join(character for name in names for character in name if not character.isascii())
    if encoding in ("cp866", "cp1251", "cp737"):
        return not any(map(_changes_case, _words(names)))
    for character in text:
        if character in _PUNCTUATION:
            continue
        lead = character.encode(encoding)[0]
        first = {
            "cp932": (0x82, 0x97),
            "gbk": (0xB0, 0xD7),
            "big5": (0xA4, 0xC6),
            "cp949": (0xB0, 0xC8),
        }[encoding]
        if not first[0] <= lead <= first[1]:
            return False
    return True
