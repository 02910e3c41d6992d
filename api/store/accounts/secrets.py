"""Random texts that open something: made, shown once, kept as their SHA-256."""

from __future__ import annotations

import hashlib
import re
import secrets

KEY = re.compile(r"saf_[A-Za-z0-9_\-]{43}")
SHOWN = 12  # characters of a key that lists show, 48 bits of its 256


def new_key() -> str:
    """A new key, such as `saf_…`."""
    return f"saf_{secrets.token_urlsafe(32)}"


def new_token() -> str:
    """A new text for a cookie or a form."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is kept of it."""
    return hashlib.sha256(secret.encode()).hexdigest()
