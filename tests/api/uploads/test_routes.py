"""Resumable uploads: what has arrived stays, whatever happens to client, connection or server."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.maintenance.leftovers import Leftovers
from api.settings import Settings
from api.uploads.files import Uploads
from tests.api.conftest import NO_BROKER, Server, serving
from tests.api.datasets.uploading import IMAGES, npz
from tests.api.web.test_limits import as_user
from tests.api.web.test_problems import check
from tests.browser.service import Pages
from tests.waiting import PATIENCE, until

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("uploads"),
        broker_url=NO_BROKER,
        root_path="/saf",
        trusted_proxies=("127.0.0.1",),
        upload_max_bytes=4_000_000,
        uploads_kept_bytes_per_user=6_000_000,
        uploads_kept_bytes=10_000_000,
    )
    with serving(settings) as server:
        yield server


def metadata(**values: str) -> dict[str, str]:
    pairs = (f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in values.items())
    return {"Upload-Metadata": ",".join(pairs)}


def checksum(content: bytes, name: str = "sha256") -> dict[str, str]:
    value = base64.b64encode(hashlib.new(name, content).digest()).decode()
    return {"Upload-Checksum": f"{name} {value}"}


def begin(server: Server, length: int, **headers: str) -> str:
    answer = server.http.post(
        "/saf/v1/uploads",
        headers={**TUS, "Upload-Length": str(length), **metadata(filename="mine.npz"), **headers},
    )
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == answer.json()["urls"]["self"]
    return str(answer.headers["location"])


def send(server: Server, at: str, offset: int, content: bytes, **headers: str) -> httpx.Response:
    return server.http.patch(
        at, content=content, headers={**BYTES, "Upload-Offset": str(offset), **headers}
    )


def offset(server: Server, at: str) -> int:
    head = server.http.head(at, headers=TUS)
    assert head.status_code == 200
    assert head.headers["cache-control"] == "no-store"
    return int(head.headers["upload-offset"])


def finish(server: Server, at: str, **fields: Any) -> httpx.Response:
    body = {"upload": at.rpartition("/")[2], **fields}
    return server.http.post("/saf/v1/datasets", json=body)


def test_the_server_says_what_it_can_do(small: Server) -> None:
    answer = small.http.options("/saf/v1/uploads")
    assert answer.status_code == 204
    said = answer.headers
    assert (said["tus-version"], said["tus-max-size"]) == ("1.0.0", "4000000")
    assert said["tus-checksum-algorithm"] == "sha1,sha256"
    assert said["tus-extension"].split(",") == [
        *("creation", "creation-with-upload", "termination", "checksum", "expiration")
    ]


def test_a_file_in_pieces_becomes_a_data_set(small: Server) -> None:
    at = begin(small, len(IMAGES))
    assert at.startswith("/saf/v1/uploads/up_")
    assert offset(small, at) == 0
    early = finish(small, at)
    assert f"0 of the {len(IMAGES)} bytes" in check(early, 409)["detail"]
    for start in range(0, len(IMAGES), 1000):
        piece = IMAGES[start : start + 1000]
        answer = send(small, at, start, piece, **checksum(piece))
        assert answer.status_code == 204, answer.text
        assert int(answer.headers["upload-offset"]) == start + len(piece) == offset(small, at)
        assert "upload-expires" in answer.headers
    assert small.get(at)["received"] == len(IMAGES)
    made = finish(small, at, name="in pieces")
    assert made.status_code == 201, made.text
    assert (made.json()["status"], made.json()["bytes"]) == ("ready", len(IMAGES))
    assert offset(small, at) == len(IMAGES), "whoever lost the answer sends nothing again"
    assert small.get(at)["dataset"] == made.json()["id"]
    directory = small.service.part(Uploads).directory / at.rpartition("/")[2]
    assert not (directory / "data").exists(), "the bytes are those of the data set"
    assert "delete that one" in check(small.http.delete(at, headers=TUS), 409)["detail"]
    check(send(small, at, len(IMAGES), b""), 409)


def test_an_upload_that_is_begun_twice_with_one_key_is_one(small: Server) -> None:
    key = {"Idempotency-Key": "begun-1"}
    first, second = begin(small, 100, **key), begin(small, 100, **key)
    assert first == second
    headers = {**TUS, "Upload-Length": "101", **key}
    check(small.http.post("/saf/v1/uploads", headers=headers), 409)
    assert small.http.delete(first, headers=TUS).status_code == 204
    assert begin(small, 100, **key) != first


def test_the_first_bytes_may_come_with_the_creation(small: Server) -> None:
    answer = small.http.post(
        "/saf/v1/uploads",
        content=IMAGES,
        headers={**BYTES, "Upload-Length": str(len(IMAGES)), **checksum(IMAGES, "sha1")},
    )
    assert answer.status_code == 201, answer.text
    assert int(answer.headers["upload-offset"]) == len(IMAGES) == answer.json()["received"]
    made = finish(small, answer.headers["location"], name="at once")
    assert made.json()["status"] == "ready"


def test_a_cut_connection_keeps_what_has_arrived(small: Server) -> None:
    at = begin(small, 3_000_000)
    port = int(small.address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as raw:
        head = (
            f"PATCH {at} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nTus-Resumable: 1.0.0\r\n"
            "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\n"
            "Content-Length: 3000000\r\n\r\n"
        )
        raw.sendall(head.encode() + bytes(2_000_000))
        until(lambda: offset(small, at))
        other = send(small, at, 1, b"x")
        assert "another request" in check(other, 423)["detail"]
    until(lambda: offset(small, at) == 2_000_000)
    # The request that was cut may hold the upload for a moment after its last byte.
    until(lambda: send(small, at, 0, b"x").status_code != 423)
    wrong = send(small, at, 0, b"x")
    assert "2000000 bytes of the upload have arrived" in check(wrong, 409)["detail"]
    assert wrong.headers["upload-offset"] == "2000000"
    assert send(small, at, 2_000_000, bytes(1_000_000)).status_code == 204
    assert offset(small, at) == 3_000_000
    assert small.http.delete(at, headers=TUS).status_code == 204
    assert small.http.head(at, headers=TUS).status_code == 404


def test_bytes_that_are_not_what_their_checksum_says_are_not_kept(small: Server) -> None:
    at = begin(small, 1000)
    assert send(small, at, 0, b"a" * 400).status_code == 204
    refused = send(small, at, 400, b"b" * 600, **checksum(b"c" * 600))
    assert check(refused, 460)["code"] == "checksum_mismatch"
    assert offset(small, at) == 400
    for header in ("md5 abc", "sha256 abc", "sha256"):
        check(send(small, at, 400, b"b", **{"Upload-Checksum": header}), 400)
    assert send(small, at, 400, b"b" * 600, **checksum(b"b" * 600)).status_code == 204
    held = small.service.part(Uploads).find(at.rpartition("/")[2])
    assert held.file.read_bytes() == b"a" * 400 + b"b" * 600


def test_bytes_whose_checksum_was_never_compared_do_not_count(small: Server) -> None:
    """As a server leaves them that is killed in the middle of a request with a checksum."""
    at = begin(small, 1000)
    assert send(small, at, 0, b"a" * 400).status_code == 204
    found = small.service.part(Uploads).find(at.rpartition("/")[2])
    (found.directory / "unverified").write_text("400")
    with found.file.open("ab") as file:
        file.write(b"?" * 77)
    assert offset(small, at) == 400
    assert send(small, at, 400, b"b" * 600).status_code == 204
    assert found.file.read_bytes() == b"a" * 400 + b"b" * 600


def test_what_is_no_tus_is_refused_with_what_to_send(small: Server) -> None:
    at = begin(small, 10)
    answer = small.http.post("/saf/v1/uploads", headers={"Upload-Length": "3"})
    assert "Tus-Resumable: 1.0.0" in check(answer, 412)["detail"]
    assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"
    assert "Upload-Length" in check(small.http.post("/saf/v1/uploads", headers=TUS), 400)["detail"]
    wrong = {**TUS, "Upload-Length": "3", "Upload-Metadata": "filename ä"}
    headers = [(k.encode(), v.encode()) for k, v in wrong.items()]
    check(small.http.post("/saf/v1/uploads", headers=headers), 400)
    check(small.http.patch(at, content=b"x", headers={**TUS, "Upload-Offset": "0"}), 415)
    check(small.http.patch(at, content=b"x", headers=BYTES), 400)
    check(send(small, at, 0, b"x" * 11), 413)
    assert offset(small, at) == 0
    check(send(small, "/saf/v1/uploads/up_nothing", 0, b"x"), 404)
    for offset_ in ("-1", "x", str(2**53)):
        answer = small.http.patch(at, content=b"", headers={**BYTES, "Upload-Offset": offset_})
        assert check(answer, 422)["errors"][0]["pointer"] == "upload-offset"
    check(small.http.post("/saf/v1/uploads", headers={**TUS, "Upload-Length": "-1"}), 422)
    bodies: list[Any] = [[], {"name": "x"}, {"upload": 3}]
    for body in bodies:
        problem = check(small.http.post("/saf/v1/datasets", json=body), 422)
        assert '"upload"' in problem["detail"] or problem["errors"][0]["pointer"] == "/upload"
    check(small.http.post("/saf/v1/datasets", json={"upload": "up_nothing/../x"}), 404)


def test_uploads_are_bounded_for_one_for_a_user_and_for_all(small: Server) -> None:
    headers = {**TUS, "Upload-Length": "4000001"}
    refused = small.http.post("/saf/v1/uploads", headers=headers)
    assert "SAF_UPLOAD_MAX_BYTES" in check(refused, 413)["detail"]
    users = [as_user(f"192.0.2.{n}") for n in (30, 31, 32)]
    at = begin(small, 3_600_000, **users[0])
    headers = {**TUS, "Upload-Length": "3600000", **users[0]}
    refused = small.http.post("/saf/v1/uploads", headers=headers)
    assert "SAF_UPLOADS_KEPT_BYTES_PER_USER" in check(refused, 429)["detail"]
    other = begin(small, 3_600_000, **users[1])
    headers = {**TUS, "Upload-Length": "3600000", **users[2]}
    refused = small.http.post("/saf/v1/uploads", headers=headers)
    assert "SAF_UPLOADS_KEPT_BYTES on" in check(refused, 429)["detail"]
    for path in (at, other):
        assert small.http.delete(path, headers=TUS).status_code == 204
    begin(small, 3_600_000, **users[2])


@pytest.mark.slow
def test_an_upload_that_is_refused_as_data_may_be_tried_again(small: Server) -> None:
    content = npz(2, 5, 5)
    at = begin(small, len(content))
    send(small, at, 0, content)
    check(finish(small, at, name="again", layout="N Q"), 422)
    check(finish(small, at, name="digits"), 409)
    made, twice = (finish(small, at, name="again") for _ in range(2))
    assert (made.status_code, twice.status_code) == (201, 200), twice.text
    assert made.json() == twice.json(), "the answer to the first may have been lost"
    other = check(finish(small, at, name="again", layout="N C H W"), 409)
    assert other["errors"][0]["pointer"] == "/upload"
    assert "by other fields" in other["detail"]
    assert small.http.delete(f"/saf/v1/datasets/{made.json()['id']}").status_code == 204
    assert "begin it again" in check(finish(small, at, name="again"), 410)["detail"]


def test_an_upload_goes_when_nothing_comes_any_more(small: Server) -> None:
    service = small.service
    old, young = begin(small, 10), begin(small, 10)
    id_ = old.rpartition("/")[2]
    directory = service.part(Uploads).directory / id_
    long_ago = time.time() - 25 * 3600
    for path in (directory / "data", directory):
        os.utime(path, (long_ago, long_ago))
    assert small.http.head(old, headers=TUS).status_code == 410
    leftovers = Leftovers(service.database, service.settings.data_dir, 0.0, 24 * 3600)
    items = [item for item in leftovers.find() if item.name.startswith("up_")]
    assert [item.name for item in items] == [id_]
    assert items[0].remove()
    assert small.http.head(old, headers=TUS).status_code == 404
    assert offset(small, young) == 0


@pytest.mark.slow
def test_a_server_that_is_killed_in_the_middle_tells_the_truth_and_goes_on(tmp_path: Path) -> None:
    content = npz(3, 200, 200)
    pages = Pages(tmp_path)
    try:
        answer = pages.http.post(
            "/v1/uploads",
            headers={**TUS, "Upload-Length": str(len(content)), **metadata(filename="big.npz")},
        )
        at = answer.headers["location"]

        def body() -> Iterator[bytes]:
            yield content[:1_200_000]
            until(
                lambda: int(
                    httpx.head(pages.url + at, headers=TUS, timeout=PATIENCE).headers[
                        "upload-offset"
                    ]
                )
            )
            pages.kill()
            yield content[1_200_000:]

        with pytest.raises(httpx.TransportError):
            pages.http.patch(at, content=body(), headers={**BYTES, "Upload-Offset": "0"})
        pages.start()
        arrived = int(pages.http.head(at, headers=TUS).headers["upload-offset"])
        assert 2**20 <= arrived <= 1_200_000
        stored = (tmp_path / "uploads" / at.rpartition("/")[2] / "data").read_bytes()
        assert stored == content[:arrived]
        rest = pages.http.patch(
            at, content=content[arrived:], headers={**BYTES, "Upload-Offset": str(arrived)}
        )
        assert rest.status_code == 204, rest.text
        body_ = {"upload": at.rpartition("/")[2], "name": "outlived"}
        made = pages.http.post("/v1/datasets", json=body_)
        assert (made.status_code, made.json()["status"]) == (201, "ready"), made.text
    finally:
        pages.close()
