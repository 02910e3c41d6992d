from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_readme_names_every_folder_and_every_module_says_what_it_is_for() -> None:
    for folder in ("saf", "saf/data", "api", "api/store", "worker"):
        assert f"| `{folder}/` |" in README
        for file in (ROOT / folder).glob("*.py"):
            assert ast.get_docstring(ast.parse(file.read_text())), file


def test_every_file_that_the_documents_link_to_exists() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)
