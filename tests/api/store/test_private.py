"""What the service keeps is for its owner only, also where it was not before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from api.settings import Settings
from api.store.blobs.directory import DirectoryStore

CODE = """
import sys
from pathlib import Path
from api.settings import Settings
from api.store.database import Database
from api.store.migrate import migrate
from api.store.private import keep_private
chosen = Settings(data_dir=Path(sys.argv[1]))
keep_private(chosen)
database = Database(chosen.database)
migrate(database)
(chosen.data_dir / "uploads").mkdir(exist_ok=True)
(chosen.data_dir / "uploads" / "file").write_text("mine")
"""


def keep(data: Path) -> None:
    """A process of its own, whose umask is the usual one, as that of an entry point."""
    subprocess.run(
        [sys.executable, "-c", CODE, str(data)], check=True, umask=0o022, env=dict(os.environ)
    )


def open_to_others(directory: Path) -> list[str]:
    return [
        path.name for path in (directory, *directory.rglob("*")) if path.lstat().st_mode & 0o077
    ]


def test_a_new_directory_and_all_in_it_are_for_the_owner(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    keep(tmp_path / "data")
    assert (tmp_path / "data" / "saf.sqlite3").is_file()
    assert open_to_others(tmp_path / "data") == []


def test_what_an_earlier_version_left_open_to_others_is_closed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "artifacts").mkdir(parents=True)
    for name in ("saf.sqlite3", "artifacts", "."):
        path = data / name
        if name == "saf.sqlite3":
            path.touch()
        path.chmod(0o777 if path.is_dir() else 0o666)
    keep(data)
    assert open_to_others(data) == []


def test_a_folder_that_holds_something_else_keeps_its_mode(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o755)
    (home / "letter").write_text("not the service's")
    (home / "letter").chmod(0o644)
    (home / "artifacts").symlink_to(home / "letter")
    keep(home)
    assert open_to_others(home / "uploads") == []
    assert home.stat().st_mode & 0o777 == 0o755
    assert (home / "letter").stat().st_mode & 0o777 == 0o644
    assert (home / "saf.sqlite3").stat().st_mode & 0o777 == 0o600


def test_stored_files_are_for_the_owner_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = DirectoryStore(Settings(data_dir=tmp_path).artifacts)
        (tmp_path / "source").write_bytes(b"weights")
        incoming = store.receive(tmp_path / "source")
        store._place(incoming)
    finally:
        os.umask(before)
    assert store.path(incoming.sha256).stat().st_mode & 0o777 == 0o600
    assert open_to_others(store.directory) == []
