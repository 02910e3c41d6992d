"""The Python client against a real server, with a network that fails in between."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from api.store.runs import artifacts
from saf.client import stream, transport
from saf.client.client import (
    ApiError,
    ChecksumError,
    Client,
    ClientError,
    Message,
    UnreachableError,
    WaitTimeoutError,
)
from saf.client.sse import messages
from tests.api.conftest import Server
from tests.api.datasets.test_routes import IMAGES

Change = Callable[[httpx.Request, httpx.Response | None], httpx.Response | None]


class Network(httpx.BaseTransport):
    """The real network; `change(request, None)` before and `change(request, response)` after a
    request may raise, or put another response in its place."""

    def __init__(self, change: Change) -> None:
        self._real = httpx.HTTPTransport()
        self._change = change
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        early = self._change(request, None)
        if early is not None:
            return early
        response = self._real.handle_request(request)
        return self._change(request, response) or response

    def close(self) -> None:
        self._real.close()


class Cut(httpx.SyncByteStream):
    """A body that breaks after `count` bytes."""

    def __init__(self, whole: Any, count: int) -> None:
        self._whole = whole
        self._count = count

    def __iter__(self) -> Iterator[bytes]:
        left = self._count
        for part in self._whole:
            if len(part) >= left:
                yield part[:left]
                raise httpx.ReadError("cut")
            left -= len(part)
            yield part

    def close(self) -> None:
        self._whole.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (transport, "FIRST_PAUSE"),
        (transport, "LONGEST_PAUSE"),
        (stream, "FIRST_PAUSE"),
        (stream, "POLL_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 0.02)


@pytest.fixture
def client(shared: Server) -> Iterator[Client]:
    with Client(shared.address) as client:
        yield client


def finish(server: Server, job_id: str) -> None:
    """Let the job succeed; nothing else may wait."""
    claim = server.run()
    assert claim.job_id == job_id
    server.progress(claim, 50, loss=0.5)
    server.succeed(claim)


def put_away(server: Server) -> None:
    """Nothing waits any more."""
    for job in server.get("/v1/jobs", limit=200)["data"]:
        if job["status"] not in ("succeeded", "failed", "cancelled"):
            server.http.post(f"/v1/jobs/{job['id']}/cancel")


def test_a_submission_whose_answer_is_lost_is_repeated_and_makes_one_job(shared: Server) -> None:
    lost: list[Any] = []

    def lose(request: httpx.Request, response: httpx.Response | None) -> None:
        if request.method == "POST" and response is not None and not lost:
            lost.append(response.read())
            raise httpx.ReadError("the connection broke")

    with Client(shared.address, transport=Network(lose)) as client:
        job = client.submit({"dataset": "digits", "metadata": {"test": "lost"}})
        assert lost
        assert [found["id"] for found in client.jobs(metadata={"test": "lost"})] == [job["id"]]


@pytest.mark.parametrize("action", ["cancel", "pause", "resume", "retry", "delete"])
def test_an_action_whose_answers_are_lost_is_repeated_and_done_once(
    shared: Server, client: Client, action: str
) -> None:
    job = client.submit({"dataset": "digits", "metadata": {"action": action}})["id"]
    if action == "resume":
        client.pause(job)
    if action in ("retry", "delete"):
        client.cancel(job)
    lost: list[Any] = []

    def lose_twice(request: httpx.Request, response: httpx.Response | None) -> None:
        changes = request.method in ("POST", "DELETE")
        if changes and response is not None and len(lost) < 2:
            lost.append(response.status_code)
            raise httpx.ReadError("the connection broke")

    with Client(shared.address, transport=Network(lose_twice)) as careful:
        answer = getattr(careful, action)(job)
    assert len(lost) == 2
    jobs = list(client.jobs(metadata={"action": action}))
    if action == "retry":
        assert [found["id"] for found in jobs] == [answer["id"], job]
        client.cancel(answer["id"])
    elif action == "delete":
        assert jobs == []
    else:
        expected = {"cancel": "cancelled", "pause": "paused", "resume": "queued"}[action]
        assert answer["status"] == client.get(job)["status"] == expected
        if action != "cancel":
            client.cancel(job)


def test_an_upload_whose_answer_is_lost_is_sent_again_and_makes_one_data_set(
    shared: Server, client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "twice sent.npz"
    file.write_bytes(IMAGES)
    lost: list[Any] = []

    def lose(request: httpx.Request, response: httpx.Response | None) -> None:
        if request.method == "POST" and response is not None and not lost:
            lost.append(response.status_code)
            raise httpx.ReadError("the connection broke")

    with Client(shared.address, transport=Network(lose)) as careful:
        made = careful.upload_dataset(file)
    assert lost == [201]
    named = [found["id"] for found in client.datasets() if found["name"] == "twice sent"]
    assert named == [made["id"]]
    assert client.wait_dataset(made["id"])["status"] == "ready"


def test_a_server_that_is_busy_is_asked_again(shared: Server) -> None:
    answers = [503, 502]

    def busy(request: httpx.Request, response: httpx.Response | None) -> httpx.Response | None:
        if response is None and answers:
            return httpx.Response(answers.pop(), request=request)
        return None

    with Client(shared.address, transport=Network(busy)) as client:
        assert isinstance(client.workers(), list)
    assert answers == []


def test_a_refusal_carries_the_fields_of_the_problem(client: Client) -> None:
    with pytest.raises(ApiError, match="lambda") as caught:
        client.submit({"dataset": "digits", "lambda": 2, "timesteps": 0})
    error = caught.value
    assert (error.status, error.code) == (422, "invalid_request")
    assert {field["pointer"] for field in error.errors} == {"/lambda", "/timesteps"}
    assert error.request_id.startswith("req_")
    with pytest.raises(ApiError) as caught:
        client.get("job_none")
    assert caught.value.status == 404


def test_validation_tells_the_needs_and_submits_nothing(client: Client) -> None:
    before = [job["id"] for job in client.jobs()]
    found = client.validate({"dataset": "digits", "timesteps": 4})
    assert found["specification"]["timesteps"] == 4
    assert found["parameters"] > 1000
    assert [job["id"] for job in client.jobs()] == before


def test_a_list_goes_over_all_its_pages(client: Client) -> None:
    made = [client.submit({"metadata": {"test": "pages"}})["id"] for _ in range(5)]
    found = [job["id"] for job in client.jobs(metadata={"test": "pages"}, page=2)]
    assert found == made[::-1]


def test_nobody_at_the_address_is_told_with_the_address() -> None:
    with Client("http://127.0.0.1:9", retries=1) as client:
        with pytest.raises(UnreachableError, match=r"no server answers at http://127\.0\.0\.1:9"):
            client.get("job_1")
        with pytest.raises(UnreachableError):
            list(client.watch("job_1", patience=0.05))


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://server", "http://", "http://[::1"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ClientError, match="no address"):
        Client(url)


@pytest.mark.parametrize("cut", [1, 60, 400, 1000])
def test_a_stream_that_breaks_anywhere_loses_and_repeats_no_event(shared: Server, cut: int) -> None:
    put_away(shared)
    job_id = shared.submit()["id"]
    streams = []

    def break_first(
        request: httpx.Request, response: httpx.Response | None
    ) -> httpx.Response | None:
        if response is None or request.headers["accept"] != "text/event-stream":
            return None
        streams.append(request.headers["last-event-id"])
        if len(streams) > 2:
            return None
        return httpx.Response(
            response.status_code, headers=response.headers, stream=Cut(response.stream, cut)
        )

    finish(shared, job_id)
    with Client(shared.address, transport=Network(break_first)) as client:
        seen = list(client.watch(job_id))
        expected = client.events(job_id)
    assert [message.data for message in seen if message.kind == "event"] == expected
    assert [event["sequence"] for event in expected] == list(range(1, len(expected) + 1))
    assert [message.kind for message in seen].count("done") == 1
    assert seen[-1].data["status"] == "succeeded"
    assert len(streams) == 3


def test_where_there_are_no_streams_the_server_is_asked_at_intervals(shared: Server) -> None:
    put_away(shared)
    job_id = shared.submit()["id"]

    def without_streams(
        request: httpx.Request, response: httpx.Response | None
    ) -> httpx.Response | None:
        if "text/event-stream" in request.headers.get("accept", "") and response is None:
            return httpx.Response(200, json={}, request=request)
        return None

    worker = threading.Timer(0.3, finish, (shared, job_id))
    worker.start()
    with Client(shared.address, transport=Network(without_streams)) as client:
        seen = list(client.watch(job_id))
    worker.join()
    types = [message.data["type"] for message in seen if message.kind == "event"]
    assert types == ["queued", "starting", "running", "succeeded"]
    assert seen[-1].kind == "done"


def test_waiting_shows_the_progress_and_returns_the_job_that_ended(
    shared: Server, client: Client
) -> None:
    put_away(shared)
    job_id = client.submit({})["id"]
    worker = threading.Timer(0.2, finish, (shared, job_id))
    worker.start()
    seen: list[str] = []
    job = client.wait(job_id, progress=lambda job: seen.append(job["status"]))
    worker.join()
    assert job["status"] == "succeeded"
    assert seen[0] == "queued"


def test_waiting_ends_in_time_and_the_job_goes_on(shared: Server, client: Client) -> None:
    put_away(shared)
    job_id = client.submit({})["id"]
    seen: list[str] = []
    with pytest.raises(WaitTimeoutError, match="it goes on"):
        client.wait(job_id, timeout=0.3, progress=lambda job: seen.append(job["status"]))
    assert seen  # it was listening when nothing more came
    assert client.get(job_id)["status"] == "queued"


def keep(server: Server, files: dict[str, bytes]) -> str:
    """A job that has left these files."""
    job_id: str = server.submit()["id"]
    for name, content in files.items():
        file = server.files.directory.parent / "file"
        file.write_bytes(content)
        incoming = server.service.store.receive(file)
        with server.service.database.writing() as session:
            sha256 = server.service.store.keep(session, incoming)
            artifacts.register(session, job_id=job_id, name=name, kind="network", sha256=sha256)
    return job_id


CONTENT = np.random.default_rng(0).bytes(300_000)


def test_a_download_that_breaks_goes_on_where_it_was(shared: Server, tmp_path: Path) -> None:
    job_id = keep(shared, {"lif.safetensors": CONTENT})
    ranges = []

    def break_twice(
        request: httpx.Request, response: httpx.Response | None
    ) -> httpx.Response | None:
        if response is None or "/v1/artifacts/" not in request.url.path:
            return None
        ranges.append(request.headers.get("range"))
        if len(ranges) > 2:
            return None
        return httpx.Response(
            response.status_code, headers=response.headers, stream=Cut(response.stream, 100_000)
        )

    seen: list[int] = []
    with Client(shared.address, transport=Network(break_twice)) as client:
        (path,) = client.download(job_id, tmp_path, report=lambda _, count: seen.append(count))
    assert path == tmp_path / "lif.safetensors"
    assert path.read_bytes() == CONTENT
    starts = [int(r.removeprefix("bytes=").removesuffix("-")) for r in ranges if r]
    assert ranges[0] is None
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1]
    assert seen[-1] == len(CONTENT)
    assert [entry.name for entry in tmp_path.iterdir()] == ["lif.safetensors"]


def test_what_is_there_is_not_fetched_again_and_what_is_damaged_is(
    shared: Server, tmp_path: Path
) -> None:
    job_id = keep(shared, {"a.json": b'{"a": 1}', "deep/b.bin": CONTENT})
    network = Network(lambda _request, _response: None)
    with Client(shared.address, transport=network) as client:
        assert {p.name for p in client.download(job_id, tmp_path)} == {"a.json", "b.bin"}
        network.requests.clear()
        (tmp_path / "a.json").write_bytes(b'{"a": 2}')
        client.download(job_id, tmp_path)
    fetched = [r for r in network.requests if "/v1/artifacts/" in r.url.path]
    assert len(fetched) == 1
    assert (tmp_path / "a.json").read_bytes() == b'{"a": 1}'
    assert (tmp_path / "deep" / "b.bin").read_bytes() == CONTENT


def test_the_rest_of_another_file_is_not_mixed_in(
    shared: Server, client: Client, tmp_path: Path
) -> None:
    job_id = keep(shared, {"lif.safetensors": CONTENT})
    (tmp_path / "lif.safetensors.part").write_bytes(b"x" * 1000)
    (path,) = client.download(job_id, tmp_path)
    assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(CONTENT).digest()


def test_a_file_that_arrives_wrong_is_refused_and_not_left_under_its_name(
    shared: Server, tmp_path: Path
) -> None:
    job_id = keep(shared, {"lif.safetensors": CONTENT})

    def alter(request: httpx.Request, response: httpx.Response | None) -> httpx.Response | None:
        if response is None or "/v1/artifacts/" not in request.url.path:
            return None
        return httpx.Response(200, stream=httpx.ByteStream(b"?" + CONTENT[1:]))

    with (
        Client(shared.address, transport=Network(alter)) as client,
        pytest.raises(ChecksumError, match="another SHA-256"),
    ):
        client.download(job_id, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\..\\evil"])
def test_a_name_that_leads_out_of_the_folder_is_refused(
    shared: Server, tmp_path: Path, name: str
) -> None:
    job_id = keep(shared, {"evil": b"evil"})

    def rename(request: httpx.Request, response: httpx.Response | None) -> httpx.Response | None:
        if response is None or not request.url.path.endswith("/artifacts"):
            return None
        body = httpx.Response(200, content=response.read()).json()
        body["data"][0]["name"] = name
        return httpx.Response(200, json=body)

    with (
        Client(shared.address, transport=Network(rename)) as client,
        pytest.raises(ClientError, match="no name of a file"),
    ):
        client.download(job_id, tmp_path / "inside")
    assert not list(tmp_path.rglob("evil"))


def test_a_file_that_the_job_does_not_have_is_told_with_those_it_has(
    shared: Server, client: Client, tmp_path: Path
) -> None:
    job_id = keep(shared, {"a.json": b"{}"})
    with pytest.raises(ClientError, match=r"no file 'b.json'; it has a.json"):
        client.download(job_id, tmp_path, ["b.json"])


def test_a_folder_is_packed_uploaded_and_checked(client: Client, tmp_path: Path) -> None:
    import zipfile
    from io import BytesIO

    from tests.acceptance.real_digits import as_image_folder_zip

    with zipfile.ZipFile(BytesIO(as_image_folder_zip(60, 30))) as archive:
        archive.extractall(tmp_path)
    dataset = client.upload_dataset(tmp_path / "digits", name="from a folder")
    dataset = client.wait_dataset(dataset["id"])
    assert dataset["status"] == "ready", dataset["problems"]
    assert dataset["shape"] == [1, 8, 8]
    assert dataset["name"] in {found["name"] for found in client.datasets()}


def test_metrics_and_logs_of_a_job(shared: Server, client: Client) -> None:
    put_away(shared)
    job_id = client.submit({})["id"]
    assert client.metrics(job_id)["series"] == []
    assert client.logs(job_id, tail=5) == ""


def test_a_stream_is_read_as_the_standard_says() -> None:
    lines = [": hello", "retry: 1000", "", "id: 7", "data: {", 'data: "a": 1}', ""]
    lines += ["event: done", "data:[2]", "", "data: never ended"]
    assert list(messages(lines)) == [
        Message(kind="event", data={"a": 1}, sequence=7),
        Message(kind="done", data=[2]),
    ]
