"""The Python client against a real server, with a network that fails in between."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from saf.client.client import (
    ApiError,
    Client,
    ClientError,
    Message,
    UnreachableError,
    WaitTimeoutError,
)
from saf.client.connection.stream import messages
from tests.api.conftest import Server
from tests.api.datasets.uploading import IMAGES
from tests.saf.client.network import (
    Cut,
    Network,
    client,
    finish,
    put_away,
    short_pauses,
)
from tests.waiting import until

__all__ = ["client", "short_pauses"]


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
    seen: list[str] = []

    def work() -> None:
        until(lambda: seen)
        finish(shared, job_id)

    worker = threading.Thread(target=work)
    worker.start()
    job = client.wait(job_id, progress=lambda job: seen.append(job["status"]))
    worker.join()
    assert job["status"] == "succeeded"
    assert seen[0] == "queued"


def test_waiting_ends_in_time_and_the_job_goes_on(shared: Server, client: Client) -> None:
    put_away(shared)
    job_id = client.submit({})["id"]
    seen: list[str] = []
    timeout = 0.3
    while not seen:  # it is to be listening when nothing more comes
        with pytest.raises(WaitTimeoutError, match="it goes on"):
            client.wait(job_id, timeout=timeout, progress=lambda job: seen.append(job["status"]))
        timeout *= 4
    assert client.get(job_id)["status"] == "queued"


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
