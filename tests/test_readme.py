from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def rooms() -> list[Path]:
    """The folders of the source that hold modules."""
    found = {file.parent for top in TOP for file in (ROOT / top).rglob("*.py")}
    return sorted(found)


TOP = ("saf", "api", "worker", "benchmarks")
LISTS = {"saf/lif/export", "saf/methods", "saf/networks"}


def test_the_readme_names_the_folders_and_the_architecture_every_room() -> None:
    architecture = (ROOT / "docs" / "architecture.md").read_text()
    for folder in ("saf", "saf/client", "saf/cli", "api", "api/store", "worker"):
        assert f"`{folder}/`" in README
    for room in rooms():
        name = room.relative_to(ROOT).as_posix()
        assert (
            name in ("saf", "api")
            or name.startswith("benchmarks")
            or f"| `{name}/` |" in architecture
        ), name
    for name in re.findall(r"^\| `([\w/]+)/` \|", architecture, re.M):
        assert (ROOT / name).is_dir(), name


def test_a_room_fits_on_a_screen_and_every_module_says_what_it_is_for() -> None:
    for room in rooms():
        modules = list(room.glob("*.py"))
        # A room that a registry reads grows by a file with each member, and needs no reading.
        # migrations/versions grows likewise; Alembic wants it in one folder, or a list of several.
        most = 40 if room.relative_to(ROOT).as_posix() in LISTS else 17
        assert len(modules) <= most, room
        for file in modules:
            assert file.read_text().startswith('"""'), file


def test_every_file_that_the_documents_link_to_exists() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)
