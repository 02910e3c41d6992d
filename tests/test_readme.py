from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_readme_names_every_module() -> None:
    for folder in ("api", "api/store", "worker", "saf", "saf/data"):
        part = README.split(f"**`{folder}/`**")[1].split("\n**")[0]
        named = set(re.findall(r"^- `(\w+\.py)`", part, re.MULTILINE))
        there = {file.name for file in (ROOT / folder).glob("*.py")} - {"__init__.py"}
        assert named == there, folder


def test_every_file_that_the_documents_link_to_exists() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)
