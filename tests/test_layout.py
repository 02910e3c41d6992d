"""What the import contracts of pyproject.toml cannot say without naming every module."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import loops

ROOT = Path(__file__).parents[1]


def imports(folder: str) -> set[str]:
    """The modules of ours that the files of a folder import, as `package.module`."""
    found: set[str] = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            found |= {".".join(name.split(".")[:2]) for name in names if name.count(".")}
    return found


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [
        (
            "worker",
            {"api.store", "api.settings", "api.broker", "api.host", "api.telemetry"},
        ),
        ("api/store", {"api.store", "api.settings", "api.errors"}),
        ("saf", set()),
    ],
)
def test_a_folder_imports_only_what_the_layout_allows(folder: str, allowed: set[str]) -> None:
    of_api = {name for name in imports(folder) if name.startswith("api.")}
    assert of_api <= allowed


@pytest.mark.parametrize("module", ["api.main", "api.local.serve", "worker.app", "saf", "saf.data"])
def test_importing_loads_no_torch_and_nothing_for_s3(module: str) -> None:
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'botocore'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_no_test_begins_a_loop_where_a_browser_may_have_left_one_running() -> None:
    """`tests.loops` runs coroutines in threads of their own."""
    own = (Path(__file__), ROOT / "tests" / "loops.py")
    places = [file for file in (ROOT / "tests").rglob("*.py") if file not in own]
    begins = re.compile(r"\b(asyncio|anyio)\.run\(")
    assert [file for file in places if begins.search(file.read_text())] == []

    async def inner() -> int:
        return 5

    async def outer() -> int:
        return loops.run(inner())

    assert loops.run(outer()) == 5
