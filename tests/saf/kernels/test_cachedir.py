"""Compiled code is not taken from, nor put into, a folder where others can write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from saf.kernels.cachedir import VARIABLE, give_torch_its_cache, is_private, private_cache


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache; torch's compiler has been given none."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / ".cache"))
    return tmp_path / "home" / ".cache"


def test_a_folder_is_made_for_this_user_alone(home: Path) -> None:
    path = private_cache("saf")
    assert path == home / "saf"
    assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o722])
def test_a_folder_where_others_can_write_is_refused(home: Path, mode: int) -> None:
    (home / "saf").mkdir(parents=True)
    (home / "saf").chmod(mode)
    with pytest.raises(OSError, match="others can write to"):
        private_cache("saf")


def test_a_folder_that_others_can_put_another_in_the_place_of_is_refused(home: Path) -> None:
    (home / "saf").mkdir(parents=True, mode=0o700)
    home.chmod(0o777)
    with pytest.raises(OSError, match="others can write to"):
        private_cache("saf")
    home.chmod(0o1777)  # as /tmp: nobody can replace what is another's
    private_cache("saf")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(home: Path) -> None:
    (home / "saf").mkdir(parents=True, mode=0o700)
    os.chown(home / "saf", 12345, 12345)
    with pytest.raises(OSError, match="is of another user"):
        private_cache("saf")


def test_a_link_to_a_folder_of_others_is_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs").chmod(0o777)
    home.mkdir(parents=True)
    (home / "saf").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="others can write to"):
        private_cache("saf")


def test_torch_compiles_into_the_users_cache_and_not_into_tmp(home: Path) -> None:
    try:
        give_torch_its_cache()
        assert os.environ[VARIABLE] == str(home / "saf-inductor")
    finally:
        os.environ.pop(VARIABLE, None)


def test_a_folder_that_torch_was_given_is_looked_at(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "given"
    (given / "saf").mkdir(parents=True)
    given.chmod(0o777)
    monkeypatch.setenv(VARIABLE, str(given))
    with pytest.raises(OSError, match="others can write to"):
        give_torch_its_cache()


def test_a_file_that_others_could_change_is_not_loaded(tmp_path: Path) -> None:
    file = tmp_path / "code.so"
    assert not is_private(file)
    file.write_bytes(b"code")
    file.chmod(0o700)
    assert is_private(file)
    file.chmod(0o770)
    assert not is_private(file)
    (tmp_path / "link").symlink_to(file)
    file.chmod(0o700)
    assert not is_private(tmp_path / "link")
