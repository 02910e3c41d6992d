"""Runs the Python of one document: a program that gets code as JSON lines and says how it went."""

from __future__ import annotations

import ast
import json
import os
import sys
import traceback
from types import ModuleType
from typing import Any


def main() -> None:
    """Run what comes in on standard input; answers go to the first standard output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the code prints is no answer
    # Classes find the names in their annotations in the module that they say they are of.
    ours, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    names: dict[str, Any] = vars(sys.modules["__main__"])
    for line in sys.stdin:
        block = json.loads(line)
        try:
            _run(block["code"], block["place"], names)
            said = ""
        except BaseException:
            said = traceback.format_exc()
        sys.stdout.flush()
        print(json.dumps(said), file=answers, flush=True)
    assert ours is not None  # kept until here: it has the functions that run


def _run(code: str, place: str, names: dict[str, Any]) -> None:
    """As a notebook does it: a last line that is an expression is shown."""
    tree = ast.parse(code, place)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        tree.body.pop()
        exec(compile(tree, place, "exec"), names)
        value = eval(compile(ast.Expression(last.value), place, "eval"), names)
        if value is not None:
            print(repr(value))
            html = getattr(value, "_repr_html_", None)
            if html is not None:
                html()
    else:
        exec(compile(tree, place, "exec"), names)


if __name__ == "__main__":
    main()
