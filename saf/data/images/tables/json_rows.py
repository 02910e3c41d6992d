"""Tables of labels in JSON: an object for each image, or a label by its name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Ways = list[tuple[tuple[str, ...] | None, list[list[str]]]]
"""Headings and rows; none where it is no table."""
_PLAIN = (str, int, float, bool)
_FILE, _LABEL = "file_name", "label"
_MOST_EMPTY = 10  # cells for one that has a value: more are no table, and would fill the memory


def of_json_lines(lines: Sequence[str]) -> Ways:
    """Of a text with an object in each line."""
    try:
        return _of_objects([json.loads(line) for line in lines])
    except (ValueError, RecursionError):
        return []


def of_whole_json(text: str) -> Ways:
    """Of a list of objects, `[{"file_name": "0.png", "label": "cat"}, …]`; of labels or objects by
    the names of files, `{"0.png": "cat", …}`; or of pairs, `{"labels": [["0.png", 3], …]}`, as
    StyleGAN has them."""
    try:
        said = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return []
    if isinstance(said, dict) and len(said) == 1:
        (said,) = said.values()
    if isinstance(said, list) and said and all(map(_is_pair, said)):
        return _of_objects([{_FILE: name, _LABEL: label} for name, label in said])
    if isinstance(said, dict) and said:
        if all(isinstance(value, _PLAIN) for value in said.values()):
            return _of_objects([{_FILE: name, _LABEL: value} for name, value in said.items()])
        if all(isinstance(value, dict) for value in said.values()):
            return _of_objects([{_FILE: name, **value} for name, value in said.items()])
        return []
    return _of_objects(said) if isinstance(said, list) and said else []


def _object(pairs: list[tuple[str, Any]]) -> Any:
    """A dictionary, or pairs where a name comes twice, of which it would keep the last one."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else [list(pair) for pair in pairs]


def _is_pair(entry: Any) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 2
        and isinstance(entry[0], str)
        and isinstance(entry[1], _PLAIN)
    )


def _of_objects(entries: list[Any]) -> Ways:
    if not all(isinstance(entry, dict) for entry in entries):
        return []
    columns = tuple(dict.fromkeys(key for entry in entries for key in entry))
    if len(columns) * len(entries) > _MOST_EMPTY * sum(map(len, entries)):
        return []
    rows = [
        [str(entry[key]) if isinstance(entry.get(key), _PLAIN) else "" for key in columns]
        for entry in entries
    ]
    return [(columns, rows)]
