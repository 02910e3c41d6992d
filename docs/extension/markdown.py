"""Descriptions of the program as Markdown."""

from __future__ import annotations

import re


def text(words: str) -> str:
    """A description as one paragraph; chapters that it names become links."""
    joined = " ".join(words.split())
    parts = re.split(r"(`[^`]*`)", joined)
    parts[::2] = [re.sub(r"([*_$<\[\]])", r"\\\1", part) for part in parts[::2]]
    return re.sub(r"`?docs/([\w\\-]+)\.md`?", _link, "".join(parts))


def _link(match: re.Match[str]) -> str:
    name = match[1].replace("\\", "")
    return f"[](project:{name}.md)"
