"""Folders of the server that become data sets: below the roots of its operator, and no link out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from api.datasets.checks import Checks
from api.settings import Settings
from saf.client.client import Client
from tests.api.conftest import NO_BROKER, Server, serving
from tests.api.datasets.uploading import IMAGES
from tests.api.web.test_limits import folder
from tests.api.web.test_problems import check


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("roots")


@pytest.fixture(scope="module")
def serves(roots: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    (roots / "allowed").mkdir()
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("folders"),
        broker_url=NO_BROKER,
        dataset_folders=(roots / "missing", roots / "allowed"),
    )
    with serving(settings) as server:
        yield server


def images(path: Path) -> Path:
    archive = path.with_suffix(".zip")
    archive.write_bytes(folder(40))
    shutil.unpack_archive(archive, path)
    archive.unlink()
    return path


def register(server: Server, path: Path | str, name: str) -> Any:
    return server.http.post("/v1/datasets", json={"folder": str(path), "name": name})


@pytest.mark.slow
def test_a_folder_is_checked_and_kept_as_an_upload_is(serves: Server, roots: Path) -> None:
    path = images(roots / "allowed" / "cats")
    whole = register(serves, path, "whole path")
    assert whole.status_code == 201, whole.text
    assert (whole.json()["status"], whole.json()["format"]) == ("ready", "image-folder")
    assert whole.json()["bytes"] == sum(f.stat().st_size for f in path.rglob("*.png"))
    with Client(serves.address) as client:
        assert client.register_dataset("cats", name="below")["status"] == "ready"
    (roots / "allowed" / "mine.npz").write_bytes(IMAGES)
    assert register(serves, "mine.npz", "a file").json()["status"] == "ready"
    assert path.is_dir(), "the folder stays"
    assert list(serves.service.part(Checks).directory.glob("ds_*")) == []


def test_nothing_outside_of_the_roots_is_read(serves: Server, roots: Path) -> None:
    outside = images(roots / "outside")
    (roots / "allowed" / "way-out").symlink_to(outside)
    for path in (
        *(outside, "../outside", "way-out", roots / "allowed" / "way-out", "/etc", ".", ""),
        *(roots / "allowed", "nothing", "a\0b", roots / "allowed" / ".." / "outside"),
    ):
        problem = check(register(serves, path, "outside"), 422)
        assert problem["errors"][0]["pointer"] == "/folder", path
        assert "SAF_DATASET_FOLDERS" in problem["detail"] or "NUL" in problem["detail"]
        assert str(roots / "allowed") not in problem["detail"].replace(repr(str(path)), "")
    inside = images(roots / "allowed" / "linked")
    (inside / "a" / "more").symlink_to(outside)
    problem = check(register(serves, inside, "linked"), 422)
    assert "link" in problem["detail"]


def test_a_link_that_takes_the_place_of_a_registered_folder_is_not_followed(
    serves: Server, roots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check begins after the request was looked at, and may wait for others."""
    outside = images(roots / "not allowed")
    path = images(roots / "allowed" / "swapped")
    start = Checks.start

    def swapped(self: Checks, *arguments: Any, **more: Any) -> Any:
        shutil.rmtree(path)
        path.symlink_to(outside)
        return start(self, *arguments, **more)

    monkeypatch.setattr(Checks, "start", swapped)
    problem = check(register(serves, path, "swapped"), 422)
    assert (
        "swapped is no longer what was registered: a link has taken its place" in problem["detail"]
    )


@pytest.mark.slow
def test_a_server_without_roots_says_how_to_name_some(shared: Server, tmp_path: Path) -> None:
    problem = check(register(shared, tmp_path, "none"), 422)
    assert "SAF_DATASET_FOLDERS" in problem["detail"]
    check(shared.http.post("/v1/datasets", json={"folder": "x", "upload": "up_x"}), 422)


def test_a_request_whose_header_is_refused_leaves_nothing_behind(
    serves: Server, roots: Path
) -> None:
    """Of a form, an upload that has arrived and a folder: no directory, and no open lock."""
    (roots / "allowed" / "refused.npz").write_bytes(IMAGES)
    begun = serves.http.post(
        "/v1/uploads",
        content=IMAGES,
        headers={
            "Tus-Resumable": "1.0.0",
            "Upload-Length": str(len(IMAGES)),
            "Content-Type": "application/offset+octet-stream",
        },
    ).json()["id"]
    bodies: list[dict[str, Any]] = [
        {"files": {"file": ("mine.npz", IMAGES)}, "data": {"name": "refused"}},
        {"json": {"upload": begun, "name": "refused"}},
        {"json": {"folder": "refused.npz", "name": "refused"}},
    ]
    directory = serves.service.part(Checks).directory
    for body in bodies:
        long = {"Idempotency-Key": "k" * 300}
        check(serves.http.post("/v1/datasets", headers=long, **body), 422)
        assert list(directory.glob("ds_*")) == [], body
    assert [path for path in _open_files() if str(directory) in path] == []
    made = serves.http.post("/v1/datasets", json={"upload": begun, "name": "not refused"})
    assert made.status_code == 201, "the upload is still one"


def _open_files() -> Iterator[str]:
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield os.readlink(path)
