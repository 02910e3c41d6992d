"""Leaves passwords, tokens and keys out of what is logged, and folders out of what is told."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit

EventDict = MutableMapping[str, Any]  # as structlog has it

HIDDEN = "***"
SHORTEST = 6  # of a secret that is looked for by itself: a shorter one may be part of a word
_NAMES = (
    r"(?:pass(?:word|wd|phrase)?|secret|token|api[_-]?key|access[_-]?key|credentials?|signature)"
)
_SENSITIVE = re.compile(rf"{_NAMES}\Z|authorization|cookie", re.IGNORECASE)
_SIGNS = ("://", "pass", "secret", "token", "key", "credential", "signature", "bearer", "basic")
_OURS = frozenset({"level", "logger", "process", "timestamp"})  # fields that no other writes
_PATTERNS = (
    # scheme://user:PASSWORD@host; the password may hold unquoted signs
    (
        re.compile(r"(://[^\s:/@?#]{0,256}:)(?!\d+(?:[/?#\s]|\Z)|\*+@)[^\s\"'<>]{1,1024}@"),
        rf"\1{HIDDEN}@",
    ),
    (re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9+/=._~\-]{6,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    # password=…, "token": "…", X-Amz-Signature=…, AWS_SECRET_ACCESS_KEY=…
    (
        re.compile(
            rf"({_NAMES}[\"']?\s{{0,4}}[=:]\s{{0,4}})(\"[^\"\n]*\"|'[^'\n]*'|[^\s&,;\"')}}\]]+)",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
)
# '/folder with spaces/name', or /folder/name; not 1/4096, either/or, https://host/name
_PATHS = (
    re.compile(r"(?<=[\"'`])/[^\"'`\n]*/([^\"'`/\n]+)(?=[\"'`])"),
    re.compile(r"(?<![\w./:…])/(?:[^\s/\"'`,;:()]+/)+([^\s/\"'`,;:()]+)"),
)


def without_folders(text: str) -> str:
    """A text with the names of files alone: where they lie is of no use on another machine."""
    for pattern in _PATHS:
        text = pattern.sub(r"…/\1", text)
    return text


class Redaction:
    """A processor of structlog."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """`secrets` are known ones, wherever they stand."""
        known = sorted({each for each in secrets if len(each) >= SHORTEST}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> EventDict:
        """The event without secrets."""
        return {
            name: value if name in _OURS else self._of(name, value) for name, value in event.items()
        }

    def text(self, text: str) -> str:
        """A text without secrets."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        lowered = text.lower()
        if any(sign in lowered for sign in _SIGNS):  # most messages have none, and cost little
            for pattern, instead in _PATTERNS:
                text = pattern.sub(instead, text)
        return text

    def _of(self, name: str, value: Any) -> Any:
        if value is not None and _SENSITIVE.search(name):
            return HIDDEN
        match value:
            case str():
                return self.text(value)
            case Mapping():
                return {key: self._of(str(key), entry) for key, entry in value.items()}
            case list() | tuple():
                return [self._of("", entry) for entry in value]
            case bool() | int() | float() | None:
                return value
            case _:
                return self.text(str(value))


def secrets_of(*addresses: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """The passwords in addresses, as written and decoded, and what the environment keeps under
    names such as `…_PASSWORD`, `…_SECRET…` and `…_TOKEN`."""
    found = []
    for address in addresses:
        try:
            password = urlsplit(address).password
        except ValueError:
            continue
        if password:
            found += [password, unquote(password)]
    for name, value in (os.environ if environment is None else environment).items():
        if re.search(r"PASSWORD|SECRET|TOKEN", name, re.IGNORECASE):
            found.append(value)
    return found
