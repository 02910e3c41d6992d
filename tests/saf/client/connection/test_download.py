"""Downloads that break, go on, and arrive whole or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest

from saf.client.client import (
    ChecksumError,
    Client,
    ClientError,
)
from tests.api.conftest import Server
from tests.saf.client.network import (
    CONTENT,
    Cut,
    Network,
    client,
    keep,
    short_pauses,
)

__all__ = ["client", "short_pauses"]


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
