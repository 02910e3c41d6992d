"""The client has what the API has: every operation and every parameter of the OpenAPI document."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from saf.client.client import Client
from saf.client.types import ApiError, ClientError, WaitTimeoutError
from tests.api.conftest import Server
from tests.api.datasets.uploading import IMAGES
from tests.saf.client.network import Network, finish, keep, put_away
from tests.saf.training.starting.test_starting_from_files import left

OTHERWISE = {
    "before",  # lists go forward, page by page
    "limit",  # called `page`
    "if-none-match",  # a file that is there is not asked for
    "v",  # of pictures in pages
    ("/v1/uploads", "idempotency-key"),  # what was begun is found by its address
    ("/v1/uploads", "upload-checksum"),  # pieces are sent after an upload has begun
    ("/v1/jobs/{job_id}/logs", "after"),  # a stream says it by its last event
}

OF_TUS = {  # which a sender that goes on by itself does not need
    ("options", "/v1/uploads"),
    ("get", "/v1/uploads/{upload}"),
    ("delete", "/v1/uploads/{upload}"),
}


class Recorder(Network):
    """The real network, and which operation of the document each request was."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(lambda request, response: None)
        self._paths = {
            path: re.compile(re.sub(r"\{\w+\}", "[^/]+", path)) for path in document["paths"]
        }
        self.used: dict[tuple[str, str], set[str]] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        for path, pattern in self._paths.items():
            if pattern.fullmatch(request.url.path):
                names = self.used.setdefault((request.method, path), set())
                names |= {*request.url.params, *request.headers}
        return super().handle_request(request)


@pytest.fixture
def recorder(shared: Server) -> Recorder:
    put_away(shared)
    return Recorder(shared.get("/openapi.json"))


@pytest.fixture
def client(shared: Server, recorder: Recorder) -> Iterator[Client]:
    with Client(shared.address, transport=recorder, retries=0) as client:
        yield client


def png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "png")
    return file.getvalue()


@pytest.mark.slow
def test_every_operation_and_parameter_of_the_api_is_one_of_the_client(
    shared: Server,
    client: Client,
    recorder: Recorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    specification = {"dataset": "digits", "metadata": {"a": "b"}}
    client.validate(specification)
    job = client.submit(specification, idempotency_key="k")
    filters = {"status": ["queued"], "health": ["ok"], "method": "saf-f", "dataset": "digits"}
    list(client.jobs(**filters, network="convnet", sweep="sweep_1", q="job", sort="name", page=1))  # type: ignore[arg-type]
    list(client.jobs(tags=["none"], favourite=True))
    job.edit(tags=["seen"])
    job.pause()
    job.resume()
    job.cancel()
    retried = job.retry(from_start=True)
    client.retry(job.id, idempotency_key="r")
    list(client.jobs(page=1))
    finish_waiting(shared, client, retried.id)
    with pytest.raises(ApiError, match="checkpoint"):
        retried.refresh().train_further(epochs=1)
    client.metrics(job.id, ["loss"], max_points=10, from_step=1, to_step=2)
    client.metrics_csv(job.id)
    client.logs(job.id, tail=1, q="loss")
    assert list(client.follow_logs(job.id)) == []
    client.spike_stats(job.id, after_step=3)
    list(job.watch())
    job.events()
    for question in ({"sample": 0}, {"image": png()}, {"pixels": np.zeros((1, 8, 8))}):
        with pytest.raises(ApiError, match="neither"):
            job.predict(**question, detail=True)
    with pytest.raises(ApiError, match="greater than or equal to 0"):
        job.sample(-1)
    client.compare([job])
    client.compare_csv([job])
    client.compare_svg([job], ["loss"], x="epoch", log=True, begin=0, end=5)
    with_file = client.get(keep(shared, {"report.json": b"{}"}))
    with_file.download(tmp_path)
    with_network = client.get(keep(shared, {"lif.safetensors": b"not one of this version"}))
    finish_waiting(shared, client, with_network.id)
    export = with_network.export("python", samples=3)
    assert (export["status"], export["samples"]) == ("queued", 3)
    with pytest.raises(WaitTimeoutError, match="is queued"):
        export.wait(timeout=0.01)
    with pytest.raises(ClientError, match="no files"):
        export.download(tmp_path)
    assert with_network.exports() == [client.get_export(with_network.id, "python")]
    export.delete()
    changes = client.changes(snapshot=True)
    assert next(changes).kind == "job"
    changes.close()  # type: ignore[attr-defined]

    client.sweeps.submit({"/seed": [0, 1]}, specification)
    sweep = client.sweeps.submit({"/seed": [0, 1]}, specification)
    client.sweeps.validate({"/seed": [0, 1]}, specification)
    client.sweeps.csv(client.sweeps.get(sweep["id"])["id"])
    list(client.sweeps.list(page=1))
    assert list(client.sweeps.list(tags=["x"], favourite=True)) == []
    client.sweeps.cancel(sweep["id"])
    client.sweeps.delete(sweep["id"])

    (tmp_path / "mine.npz").write_bytes(IMAGES)
    dataset = client.upload_dataset(tmp_path / "mine.npz", name="of the client")
    client.wait_dataset(dataset["id"])
    other = client.upload_dataset(tmp_path / "mine.npz", name="another of the client")
    list(client.datasets(page=1))
    assert list(client.datasets(tags=["x"], favourite=True)) == []
    assert client.preview_png("of the client").startswith(b"\x89PNG")
    assert client.preview("of the client")
    with pytest.raises(ApiError, match="never changes"):
        client.answer_dataset(dataset["id"], layout="N H W C")
    with pytest.raises(ApiError):
        client.candidate_png(dataset["id"], 0, 0)
    client.delete_dataset(dataset["id"])
    client.delete_dataset(other["id"])
    left(tmp_path)
    network = client.upload_network(tmp_path / "lif.safetensors", name="mine")
    client.upload_network(tmp_path / "lif.safetensors")
    assert network in list(client.uploaded_networks(page=1))
    assert client.uploaded_network(network["id"]) == network
    client.delete_network(network["id"])
    with pytest.raises(ApiError, match="built in"):
        client.edit_dataset("digits", notes="x")
    with pytest.raises(ApiError, match="there is no sweep"):
        client.sweeps.edit("swp_1", name="x")
    with Client(shared.address, transport=recorder, project="none") as of_project:
        # This service has no accounts.
        with pytest.raises(ApiError, match="no accounts"):
            of_project.webhooks.add("http://example.org", ["job.failed"])
        with pytest.raises(ApiError, match="no accounts"):
            of_project.searches.add("x", "q=a")
        for refused in (
            lambda: of_project.submit({"dataset": "digits"}),
            lambda: of_project.sweeps.submit({"/seed": [0, 1]}, {"dataset": "digits"}),
            lambda: of_project.upload_dataset(tmp_path / "mine.npz", name="of a project"),
        ):
            with pytest.raises(ApiError, match="no accounts"):
                refused()
        with pytest.raises(ApiError, match="no accounts"):
            of_project.upload_network(tmp_path / "lif.safetensors")
    monkeypatch.setattr("saf.client.uploads.PIECE", 100)
    in_pieces = client.upload_dataset(tmp_path / "mine.npz", name="in pieces")
    client.wait_dataset(in_pieces["id"])
    client.delete_dataset(in_pieces["id"])
    assert "mnist" in {each["name"] for each in client.catalogue()}

    assert client.networks()
    assert {each["name"] for each in client.methods()} >= {"saf-e", "saf-f"}
    assert client.neurons()
    assert {"c", "python", "onnx"} <= {target["name"] for target in client.targets()}
    assert client.surrogates()
    client.workers()
    accounts_of(client)
    search = client.searches.add("x", "q=nothing", idempotency_key="search")
    assert list(client.jobs(saved="x")) == []
    assert client.searches.list() == [search]
    client.searches.remove(search["id"])
    with pytest.raises(ApiError, match="SAF_WEBHOOKS_PRIVATE"):
        client.webhooks.add("http://127.0.0.1:9/hook", ["job.failed"], idempotency_key="w")
    assert client.webhooks.list() == []
    for name in ("get", "test", "deliveries", "remove"):
        with pytest.raises(ApiError, match="there is no webhook"):
            getattr(client.webhooks, name)("whk_1")
    with pytest.raises(ApiError, match="there is no webhook"):
        client.webhooks.change("whk_1", enabled=True)
    assert client.is_alive()
    with pytest.raises(ApiError, match="broker"):
        client.readiness()
    assert "saf_build_info" in client.numbers()
    job.delete()

    document = shared.get("/openapi.json")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if (method, path) in OF_TUS:
                continue
            used = recorder.used.get((method.upper(), path))
            assert used is not None, f"no method of the client sends {method.upper()} {path}"
            for parameter in operation.get("parameters", ()):
                known = parameter["in"] == "path" or parameter["name"] in OTHERWISE
                known = known or (path, parameter["name"]) in OTHERWISE
                assert known or parameter["name"] in used, (method, path, parameter["name"])


def accounts_of(client: Client) -> None:
    """Ask about accounts; this service has none."""
    assert client.accounts.me()["user"] is None
    accounts = client.accounts
    for refused in (
        lambda: list(client.jobs(mine=True, project="none")),
        lambda: list(client.sweeps.list(mine=True, project="none")),
        lambda: list(client.datasets(mine=True, project="none")),
        lambda: list(client.uploaded_networks(mine=True, project="none")),
        lambda: accounts.users(),
        lambda: accounts.add_user("anna", admin=True),
        lambda: accounts.change_user("anna", disabled=True),
        lambda: accounts.keys("anna"),
        lambda: accounts.add_key("laptop", scopes=["read"], expires_days=1, user="anna"),
        lambda: accounts.revoke_key("key_1"),
        lambda: accounts.end_sessions(),
        lambda: list(accounts.audit(thing="job_1", user="anna", before=9)),
        lambda: accounts.limits(user="anna", project="vision"),
        lambda: accounts.limit_user("anna", {"jobs_running": 1}),
        lambda: accounts.limit_project("vision", {"jobs_running": None}),
        lambda: accounts.projects(),
        lambda: accounts.project("vision"),
        lambda: accounts.add_project("vision"),
        lambda: accounts.delete_project("vision"),
        lambda: accounts.put_member("vision", "anna", "viewer"),
        lambda: accounts.remove_member("vision", "anna"),
    ):
        with pytest.raises(ApiError, match="no accounts"):
            refused()


def finish_waiting(server: Server, client: Client, job_id: str) -> None:
    """Let that job succeed and put away all others."""
    for job in client.jobs(status=["queued"]):
        if job.id != job_id:
            job.cancel()
    finish(server, job_id)


def test_one_sample_is_asked_about_and_no_more(client: Client) -> None:
    for question in ({}, {"sample": 0, "pixels": [[[0.0]]]}):
        with pytest.raises(ClientError, match="exactly one"):
            client.predict("job_1", **question)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        client.predict("job_1", image="nowhere.png")
