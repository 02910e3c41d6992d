"""Forms that bring an upload: names, wrong fields, broken and too large ones."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from api.settings import Settings
from tests.api.conftest import NO_BROKER, Server, serving
from tests.api.datasets.uploading import IMAGES, leftovers, row, upload
from tests.api.web.test_problems import check


def test_a_name_is_made_of_the_files_without_the_endings_of_archives(shared: Server) -> None:
    for ending in ("tar.zst", "tbz2"):
        sent = upload(shared, IMAGES, f"endings-{ending.replace('.', '-')}.{ending}")
        assert sent.json()["name"] == f"endings-{ending.replace('.', '-')}", sent.text


@pytest.mark.parametrize(
    ("fields", "status", "pointer"),
    [
        ({"layout": "a\x00"}, 422, "/layout"),
        ({"name": "digits"}, 409, "/name"),
        ({"name": "taken"}, 409, "/name"),
        ({"name": "ds_01"}, 422, "/name"),
        ({"name": "a/b"}, 422, "/name"),
        ({"name": "../a"}, 422, "/name"),
        ({"name": "a\x00"}, 422, "/name"),
        ({"name": "a" * 201}, 422, "/name"),
        ({"name": "a" * 2000}, 422, "/name"),
        ({"format": "excel"}, 422, "/format"),
        ({"labels": "1"}, 422, "/labels"),
    ],
)
def test_wrong_fields_of_an_upload_are_named(
    uploads: Server, fields: dict[str, str], status: int, pointer: str
) -> None:
    body = check(upload(uploads, b"", **fields), status)
    assert [error["pointer"] for error in body["errors"]] == [pointer]
    assert leftovers(uploads) == []


@pytest.fixture(scope="module")
def uploads(shared: Server) -> Server:
    row(shared, id="ds_1", name="taken")
    return shared


FORM = "multipart/form-data"


def form(*parts: str, end: str = "--b--\r\n") -> dict[str, Any]:
    body = "".join(f"--b\r\nContent-Disposition: form-data; {part}\r\n" for part in parts) + end
    return {"content": body, "headers": {"content-type": "multipart/form-data; boundary=b"}}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (form('name="file"; filename="a"\r\n\r\nabc', end=""), 400),
        (form('name="name"\r\n\r\nabc'), 422),
        (form('name="file"\r\n\r\nabc'), 422),
        (form('name="file"; filename="a"\r\n\r\na', 'name="file"; filename="b"\r\n\r\nb'), 422),
        (form(*['name="name"\r\n\r\na'] * 11), 422),
        (form("\r\n\r\n"), 422),
        (form('name="file"; filename="a"\r\n\r\nabc', end="--b\r\n"), 400),
        (form(f'name="file"; filename="{"a" * 10**6}"\r\n\r\nabc'), 400),
        (form('name="file"; filename="a"' + "\r\nX: y" * 100 + "\r\n\r\nabc"), 400),
        ({"content": b"garbage", "headers": form()["headers"]}, 400),
        ({"content": b"", "headers": form()["headers"]}, 400),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 415),
        ({"content": b"", "headers": {"content-type": f"{FORM}; boundary={'b' * 300}"}}, 400),
        ({"content": b"x", "headers": {"content-type": "application/zip"}}, 415),
        ({"json": {}}, 422),
    ],
)
def test_a_broken_form_is_refused(uploads: Server, request_: dict[str, Any], status: int) -> None:
    check(uploads.http.post("/v1/datasets", **request_), status)
    assert leftovers(uploads) == []


@pytest.mark.parametrize("stated", [True, False])
def test_an_upload_beyond_the_limit_is_refused_while_it_is_read(
    tmp_path: Path, stated: bool
) -> None:
    settings = Settings(data_dir=tmp_path, broker_url=NO_BROKER, upload_max_bytes=100_000)
    body = form(f'name="file"; filename="a"\r\n\r\n{"x" * 150_000}')
    content = body["content"].encode()
    pieces = content if stated else (content[i : i + 10_000] for i in range(0, 150_000, 10_000))
    with serving(settings) as server:
        response = server.http.post("/v1/datasets", content=pieces, headers=body["headers"])
        assert check(response, 413)["code"] == "too_large"
        assert leftovers(server) == []


def test_the_same_name_at_the_same_moment_is_taken_once(server: Server) -> None:
    barrier = threading.Barrier(3)
    statuses: list[int] = []

    def send() -> None:
        barrier.wait()
        statuses.append(upload(server, name="race").status_code)

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201, 409, 409]
    assert leftovers(server) == []
