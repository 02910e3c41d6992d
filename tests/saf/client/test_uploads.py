"""Uploads in pieces from Python: over a network that breaks, and from one call to the next."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

from api.uploads.files import Uploads
from saf.client import uploads
from saf.client.client import ApiError, Client, UnreachableError
from tests.api.conftest import Server
from tests.api.datasets.uploading import npz
from tests.saf.client.network import Network
from tests.waiting import PATIENCE

CONTENT = npz(3, 60, 60)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(uploads, "PIECE", 40_000)
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE"):
        monkeypatch.setattr(uploads, name, 0.01)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.npz"
    path.write_bytes(CONTENT)
    return path


def pieces(network: Network) -> list[int]:
    """The offsets of the pieces that were sent."""
    return [int(r.headers["upload-offset"]) for r in network.requests if r.method == "PATCH"]


def test_a_large_file_goes_in_pieces_and_tells_how_far_it_is(shared: Server, file: Path) -> None:
    network, seen = Network(lambda request, response: None), list[tuple[int, int]]()
    with Client(shared.address, transport=network) as client:
        found = client.upload_dataset(
            file, name="in pieces", progress=lambda sent, total: seen.append((sent, total))
        )
    assert (found["status"], found["bytes"]) == ("ready", len(CONTENT))
    assert pieces(network) == list(range(0, len(CONTENT), 40_000))
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)


def test_a_network_that_breaks_costs_a_piece_and_no_byte(shared: Server, file: Path) -> None:
    count = 0

    def breaks(request: httpx.Request, response: httpx.Response | None) -> httpx.Response | None:
        nonlocal count
        if request.method != "PATCH":
            return None
        count += 1
        if response is None and count % 5 == 1:
            raise httpx.ReadError("cut before the server had it")
        if response is not None and count % 5 == 3:
            raise httpx.ReadError("the answer was lost")
        if response is None and count % 5 == 4:
            return httpx.Response(503, request=request)
        return None

    with Client(shared.address, transport=Network(breaks)) as client:
        found = client.upload_dataset(file, name="broken")
    assert (found["status"], found["bytes"]) == ("ready", len(CONTENT))


def test_the_next_call_goes_on_where_the_last_one_ended(shared: Server, file: Path) -> None:
    def ends(request: httpx.Request, response: httpx.Response | None) -> None:
        if request.method == "PATCH" and int(request.headers["upload-offset"]) >= 80_000:
            raise httpx.ConnectError("the machine is switched off")

    first = Network(ends)
    with (
        Client(shared.address, transport=first) as client,
        pytest.raises(UnreachableError),
    ):
        client.upload_dataset(file, name="later", patience=0.0)
    second = Network(lambda request, response: None)
    with Client(shared.address, transport=second) as client:
        found = client.upload_dataset(file, name="later")
        assert found["status"] == "ready"
        assert pieces(second)[0] == 80_000
        os.utime(file, (1.0, 1.0))  # another file of that name
        client.upload_dataset(file, name="another")
        assert pieces(second).count(0) == 1


def test_what_is_refused_as_data_is_not_sent_again_for_another_try(
    shared: Server, file: Path
) -> None:
    network = Network(lambda request, response: None)
    with Client(shared.address, transport=network) as client:
        with pytest.raises(ApiError, match="layout"):
            client.upload_dataset(file, name="tried", settings={"layout": "N Q"})
        sent = len(pieces(network))
        assert client.upload_dataset(file, name="tried")["status"] == "ready"
        assert len(pieces(network)) == sent


def test_an_answer_that_was_lost_makes_no_second_data_set(shared: Server, file: Path) -> None:
    lost = 0

    def loses(request: httpx.Request, response: httpx.Response | None) -> None:
        nonlocal lost
        if request.url.path == "/v1/datasets" and response is not None and not lost:
            lost += 1
            raise httpx.ReadError("the answer was lost")

    with Client(shared.address, transport=Network(loses)) as client:
        found = client.upload_dataset(file, name="lost answer")
    assert (lost, found["status"]) == (1, "ready")


def test_an_answer_to_the_beginning_that_was_lost_begins_no_second_upload(
    shared: Server, file: Path
) -> None:
    def loses(request: httpx.Request, response: httpx.Response | None) -> None:
        if request.url.path == "/v1/uploads" and response is not None and once:
            once.clear()
            raise httpx.ReadError("the answer was lost")

    once = [True]
    directory = shared.service.part(Uploads).directory
    before = set(directory.glob("up_*"))
    with Client(shared.address, transport=Network(loses)) as client:
        assert client.upload_dataset(file, name="begun once")["status"] == "ready"
    assert not once
    assert len(set(directory.glob("up_*")) - before) == 1


@pytest.mark.slow
def test_a_call_that_ended_before_it_forgot_its_upload_costs_no_byte(
    shared: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(lambda request, response: None)
    with monkeypatch.context() as patch, Client(shared.address, transport=network) as client:
        patch.setattr(uploads, "forget", lambda connection, path: None)
        first = client.upload_dataset(file, name="ended")
    sent = len(pieces(network))
    with Client(shared.address, transport=network) as client:
        assert client.upload_dataset(file, name="ended") == first
        assert len(pieces(network)) == sent, "the same data set, from what has arrived"
    with monkeypatch.context() as patch, Client(shared.address, transport=network) as client:
        patch.setattr(uploads, "forget", lambda connection, path: None)
        client.upload_dataset(file, name="ended again")
    with Client(shared.address, transport=network) as client:
        assert client.upload_dataset(file, name="as another")["name"] == "as another"


def test_the_same_key_gives_the_same_data_set_and_sends_nothing_again(
    shared: Server, file: Path
) -> None:
    network = Network(lambda request, response: None)
    with Client(shared.address, transport=network) as client:
        first = client.upload_dataset(file, name="keyed", idempotency_key="one of mine")
        sent = len(pieces(network))
        again = client.upload_dataset(file, name="keyed", idempotency_key="one of mine")
    assert again == first
    assert len(pieces(network)) == sent


def test_an_upload_that_the_server_has_forgotten_is_begun_again(shared: Server, file: Path) -> None:
    def forgets(request: httpx.Request, response: httpx.Response | None) -> None:
        if request.method == "PATCH" and request.headers["upload-offset"] == "40000" and once:
            once.clear()
            httpx.delete(
                f"{shared.address}{request.url.path}", headers=uploads.TUS, timeout=PATIENCE
            )

    once = [True]
    network = Network(forgets)
    with Client(shared.address, transport=network) as client:
        assert client.upload_dataset(file, name="forgotten")["status"] == "ready"
    assert pieces(network).count(0) == 2


def test_a_server_without_resumable_uploads_gets_one_form(shared: Server, file: Path) -> None:
    def older(request: httpx.Request, response: httpx.Response | None) -> httpx.Response | None:
        is_new = request.url.path.startswith("/v1/uploads")
        return httpx.Response(404, request=request) if is_new else None

    with Client(shared.address, transport=Network(older)) as client:
        assert client.upload_dataset(file, name="one form")["status"] == "ready"
