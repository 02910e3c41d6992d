"""Columns that a table can be sorted by: what `sort` is now, and after a click on a heading."""

from __future__ import annotations


def direction(name: str, order: str) -> str:
    """Order of the column as `aria-sort`; empty where it is not sorted."""
    if order.removeprefix("-") != name:
        return ""
    return "descending" if order.startswith("-") else "ascending"


def next_order(name: str, order: str, largest_first: bool, *, default: str) -> str:
    """Order after a click on the heading; empty for the default."""
    first, second = (f"-{name}", name) if largest_first else (name, f"-{name}")
    chosen = second if order == first else first
    return "" if chosen == default else chosen
