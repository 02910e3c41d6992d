"""Identifiers of all kinds of things, such as `job_01k8…`, and what tells them from names."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import ColumnElement
from ulid import ULID

_ID = re.compile(r"[a-z]+_[0-7][0-9a-hjkmnp-tv-z]{25}")  # as ULIDs are written


def new_id(prefix: str) -> str:
    """An identifier such as `job_01k8…`; identifiers of one kind sort by time."""
    return f"{prefix}_{str(ULID()).lower()}"


def is_id(text: str) -> bool:
    """Whether a text has the form of an identifier, of whichever kind; no name has it."""
    return _ID.fullmatch(text) is not None


def named(table: Any, name_or_id: str) -> ColumnElement[bool]:
    """The condition on the row of that name or id. The form decides which of them it is, so that
    a name never stands for the id of something else."""
    column = table.id if is_id(name_or_id) else table.name
    return column == name_or_id  # type: ignore[no-any-return]
