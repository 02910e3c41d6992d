from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from api.settings import Settings
from api.store.runs import artifacts
from tests.api.conftest import NO_BROKER, Server, serving
from tests.chaos.proxy import Proxy
from tests.s3 import S3Server
from tests.waiting import until

CONTENT = bytes(range(256)) * 500
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def keep(server: Server, name: str = "lif.safetensors", content: bytes = CONTENT) -> dict[str, Any]:
    """A job with one file; its JSON in the list."""
    job = server.submit()
    file = server.service.settings.data_dir / "file"
    file.write_bytes(content)
    incoming = server.service.store.receive(file)
    with server.service.database.writing() as session:
        sha256 = server.service.store.keep(session, incoming)
        artifacts.register(session, job_id=job["id"], name=name, kind="network", sha256=sha256)
    (artifact,) = server.get(job["urls"]["artifacts"])["data"]
    found: dict[str, Any] = artifact
    return found


@pytest.fixture(scope="module", params=["directory", "bucket"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server whose files are in a directory, and one whose files are in a bucket."""
    data = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        url = ""
        if request.param == "bucket":
            s3: S3Server = request.getfixturevalue("s3")
            s3.create_bucket("test-downloads")
            for name, value in s3.environment().items():
                patch.setenv(name, value)
            url = "s3://test-downloads"
        with serving(Settings(data_dir=data, artifacts_url=url, broker_url=NO_BROKER)) as running:
            yield running


@pytest.mark.slow
def test_a_file_arrives_with_its_checksum_and_name(shared: Server) -> None:
    artifact = keep(shared)
    assert (artifact["name"], artifact["kind"]) == ("lif.safetensors", "network")
    assert (artifact["bytes"], artifact["sha256"]) == (len(CONTENT), SHA256)
    response = shared.http.get(artifact["url"])
    assert response.status_code == 200
    assert response.content == CONTENT
    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    assert response.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert response.headers["etag"] == f'"{SHA256}"'
    assert response.headers["content-disposition"] == 'attachment; filename="lif.safetensors"'
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["accept-ranges"] == "bytes"
    head = shared.http.head(artifact["url"])
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(CONTENT))
    assert head.headers["etag"] == response.headers["etag"]


@pytest.mark.parametrize(
    ("name", "disposition"),
    [
        ("a b.json", "attachment; filename*=utf-8''a%20b.json"),
        ('λ".json', "attachment; filename*=utf-8''%CE%BB%22.json"),
        ("deep/er.json", 'attachment; filename="er.json"'),
    ],
)
def test_any_file_name_survives_the_header(shared: Server, name: str, disposition: str) -> None:
    response = shared.http.get(keep(shared, name)["url"])
    assert response.headers["content-disposition"] == disposition
    assert response.headers["content-type"] == "application/json"


@pytest.fixture(scope="module")
def url(shared: Server) -> str:
    found: str = keep(shared)["url"]
    return found


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [("bytes=0-9", 0, 10), ("bytes=127990-", 127990, 128000), ("bytes=-5", 127995, 128000)],
)
def test_a_broken_download_goes_on_where_it_stopped(
    shared: Server, url: str, asked: str, begin: int, end: int
) -> None:
    response = shared.http.get(url, headers={"Range": asked, "If-Range": f'"{SHA256}"'})
    assert response.status_code == 206
    assert response.content == CONTENT[begin:end]
    assert response.headers["content-range"] == f"bytes {begin}-{end - 1}/{len(CONTENT)}"
    other = shared.http.get(url, headers={"Range": asked, "If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, CONTENT)


@pytest.mark.parametrize("asked", ["bytes=128000-", "bytes=9-3", "bytes=a-b", "lines=1-2"])
def test_a_range_outside_the_file_is_a_problem(shared: Server, url: str, asked: str) -> None:
    response = shared.http.get(url, headers={"Range": asked})
    assert response.status_code in (400, 416)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["content-range"] == "bytes */128000"
    assert response.json()["status"] == response.status_code
    assert "128000 bytes" in response.json()["detail"]


def test_several_parts_come_in_one_answer(shared: Server, url: str) -> None:
    response = shared.http.get(url, headers={"Range": "bytes=3-5,127990-127999"})
    assert response.status_code == 206
    assert response.headers["content-type"].startswith("multipart/byteranges")
    assert CONTENT[3:6] in response.content
    assert CONTENT[127990:128000] in response.content


def test_what_the_client_has_already_is_not_sent_again(shared: Server, url: str) -> None:
    for tag in (f'"{SHA256}"', f'"other", W/"{SHA256}"', "*"):
        response = shared.http.get(url, headers={"If-None-Match": tag})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == f'"{SHA256}"'
    assert shared.http.get(url, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_file_that_vanished_is_gone_and_no_defect(shared: Server) -> None:
    artifact = keep(shared, content=b"not asked for before")
    shared.service.store._remove(artifact["sha256"])
    for method in ("GET", "HEAD"):
        response = shared.http.request(method, artifact["url"])
        assert response.status_code == 410
        assert response.headers["content-type"] == "application/problem+json"
    shared.service.store.check()


def test_a_bucket_that_breaks_off_is_a_problem_and_no_half_file_and_later_the_file_comes(
    s3: S3Server,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = Proxy(s3.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{network.port}")
    content = os.urandom(2**20) * 32
    settings = Settings(data_dir=tmp_path, artifacts_url=bucket, broker_url=NO_BROKER)
    with serving(settings) as server:
        url = keep(server, content=content)["url"]
        cache = server.service.settings.data_dir / "cache"
        network.delay(0.05)  # of every 64 KiB: it would take 25 s
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(server.http.get, url)
            until(lambda: any(part.stat().st_size for part in cache.glob(".part-*")))
            network.cut()
            refused = asked.result()
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert f"{bucket} does not answer" in refused.json()["detail"]
        assert not list(cache.iterdir())
        network.heal()
        rest = server.http.get(url, headers={"Range": "bytes=1000-"})
        assert (rest.status_code, rest.content) == (206, content[1000:])
    network.close()
    assert not any(record.exc_info for record in caplog.records)
