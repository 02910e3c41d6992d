"""Uploads where the disk is full."""

from __future__ import annotations

import os

from api.datasets.checks import Checks
from tests.api.conftest import Server
from tests.disks import mounted


def test_an_upload_without_room_is_refused_with_the_reason_and_leaves_nothing(
    server: Server,
) -> None:
    directory = server.service.part(Checks).directory
    directory.mkdir(parents=True, exist_ok=True)
    content = os.urandom(2**20)
    with mounted(directory) as disk:
        disk.fill()
        before = sorted(directory.iterdir())
        answer = server.http.post("/v1/datasets", files={"file": ("images.zip", content)})
        assert answer.status_code == 503
        assert "No space left on device" in answer.json()["detail"]
        assert sorted(directory.iterdir()) == before
        assert server.get("/v1/datasets")["data"][-1]["id"] == "digits"
        disk.make_room()
        answer = server.http.post("/v1/datasets", files={"file": ("images.zip", content)})
        assert answer.status_code == 422  # received, and no archive
