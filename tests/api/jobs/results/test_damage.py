"""Damaged files at the API: never sent, never run, never a picture, and every page says so."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from api.jobs.results.predict_process import Predictor
from api.store.blobs.directory import DirectoryStore
from api.store.tables.base import Blob
from api.store.tables.results import Artifact
from api.store.tables.uploads import Dataset, DatasetPreview
from saf.client.client import ChecksumError, Client, ClientError
from tests.api.conftest import Server
from tests.api.datasets.uploading import IMAGES, upload
from tests.api.jobs.results.test_artifacts import keep

CONTENT = bytes(range(256)) * 8192  # 2 MiB: compared once for each process


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is tested here does not depend on the database."""
    return sqlite_url


def path_of(server: Server, sha256: str) -> Path:
    store = server.service.store
    assert isinstance(store, DirectoryStore)
    return store.path(sha256)


def flip(path: Path, count: int = 1) -> None:
    """Other bits in the middle of a file, as a failing disk has them."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        found = file.read(count)
        file.seek(-len(found), 1)
        file.write(bytes(byte ^ 0xFF for byte in found))


@pytest.mark.parametrize("change", ["flipped", "cut short", "made longer"])
def test_a_damaged_artifact_is_never_sent_not_even_a_part_of_it(
    server: Server, change: str
) -> None:
    artifact = keep(server, content=CONTENT)
    assert server.http.get(artifact["url"]).content == CONTENT
    assert not artifact["damaged"]
    path = path_of(server, artifact["sha256"])
    match change:
        case "flipped":
            flip(path)
        case "cut short":
            path.write_bytes(CONTENT[:-1000])
        case _:
            path.write_bytes(CONTENT + b"more")
    for method, headers in (
        ("GET", {}),
        ("HEAD", {}),
        ("GET", {"Range": "bytes=0-9"}),
        ("GET", {"Range": "bytes=0-9,20-29"}),
    ):
        response = server.http.request(method, artifact["url"], headers=headers)
        assert response.status_code == 410
        assert response.headers["content-type"] == "application/problem+json"
        if method == "GET":
            assert response.json()["code"] == "damaged"
            assert "submit the specification of the job again" in response.json()["detail"]
    (listed,) = server.get(f"/v1/jobs/{artifact['job_id']}/artifacts")["data"]
    assert listed["damaged"]
    page = server.http.get(f"/jobs/{artifact['job_id']}").text
    assert "its content is not what was stored" in page


def test_the_page_of_a_job_whose_report_is_damaged_is_there_and_says_so(server: Server) -> None:
    artifact = keep(server, "report.json", b'{"environment": {}}')
    with server.service.database.writing() as session:
        session.get_one(Artifact, artifact["id"]).kind = "report"
    flip(path_of(server, artifact["sha256"]))
    page = server.http.get(f"/jobs/{artifact['job_id']}")
    assert page.status_code == 200
    assert "its content is not what was stored" in page.text


def test_a_file_that_is_damaged_while_it_is_sent_breaks_off(server: Server) -> None:
    content = bytes(50_000_000)
    artifact = keep(server, content=content)
    received = 0
    with contextlib.suppress(Exception), server.http.stream("GET", artifact["url"]) as response:
        assert response.status_code == 200
        for piece in response.iter_raw():
            if not received:
                flip(path_of(server, artifact["sha256"]))
            received += len(piece)
    assert 0 < received < len(content)


@pytest.mark.slow
def test_a_damaged_data_set_takes_no_jobs_until_the_same_data_are_uploaded_again(
    server: Server,
) -> None:
    dataset = upload(server, name="mine").json()
    with server.service.database.reading() as session:
        sha256 = session.get_one(Dataset, dataset["id"]).sha256
    assert sha256 is not None
    flip(path_of(server, sha256))
    network = server.submit()["id"]
    assert network
    with pytest.raises(OSError, match="is damaged"):
        server.service.store.local(sha256)  # as a worker on the same store
    assert server.get(f"/v1/datasets/{dataset['id']}")["damaged"]
    assert [one["damaged"] for one in server.get("/v1/datasets")["data"] if not one["builtin"]]
    assert "damaged in the artifact store" in server.http.get(f"/datasets/{dataset['id']}").text
    job: dict[str, Any] = {"dataset": "mine"}
    refused = server.http.post("/v1/jobs", json=job)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (409, "/dataset")
    assert "upload the original files again" in refused.json()["detail"]
    assert upload(server, IMAGES, name="again").status_code == 201
    assert not server.get(f"/v1/datasets/{dataset['id']}")["damaged"]
    assert server.http.post("/v1/jobs", json=job).status_code == 201


@pytest.mark.slow
def test_a_damaged_picture_of_a_data_set_is_not_shown(server: Server) -> None:
    dataset = upload(server, name="mine").json()
    with server.service.database.reading() as session:
        query = select(DatasetPreview.sha256).where(DatasetPreview.dataset_id == dataset["id"])
        sha256 = session.scalars(query).one()
    flip(path_of(server, sha256))
    response = server.http.get(f"/v1/datasets/{dataset['id']}/preview.png")
    assert (response.status_code, response.json()["code"]) == (410, "damaged")


def test_a_damaged_network_is_not_tried(server: Server) -> None:
    artifact = keep(server, content=CONTENT)
    flip(path_of(server, artifact["sha256"]))
    answer = server.http.post(f"/v1/jobs/{artifact['job_id']}/predict", json={"sample": 0})
    assert (answer.status_code, answer.json()["code"]) == (410, "damaged")
    assert server.service.part(Predictor).pid is None, "it was not even read"


def test_a_download_of_a_damaged_file_ends_in_one_line(server: Server, tmp_path: Path) -> None:
    artifact = keep(server, content=CONTENT)
    flip(path_of(server, artifact["sha256"]))
    with (
        Client(server.address) as client,
        pytest.raises(ClientError, match=r"410 the file lif\.safetensors is damaged") as error,
    ):
        client.download(artifact["job_id"], tmp_path / "here")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "here").iterdir())


def test_a_download_from_a_server_that_sends_more_than_it_announced_ends(
    server: Server, tmp_path: Path
) -> None:
    """A server of another version, or a proxy, may send anything."""
    artifact = keep(server, content=CONTENT)
    with server.service.database.writing() as session:
        session.get_one(Blob, artifact["sha256"]).bytes = 1000
    assert hashlib.sha256(CONTENT).hexdigest() == artifact["sha256"]
    with (
        Client(server.address) as client,
        pytest.raises(ChecksumError, match="sends more of"),
    ):
        client.download(artifact["job_id"], tmp_path / "here")
    assert not list((tmp_path / "here").iterdir())
