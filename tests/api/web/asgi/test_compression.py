"""What goes over the wire: compressed text, kept files."""

from __future__ import annotations

import gzip
import re
from urllib.parse import urljoin

import httpx
import pytest

from tests.api.conftest import Server

PAGE = {"Accept": "text/html"}


def raw(server: Server, path: str, **headers: str) -> tuple[httpx.Response, bytes]:
    """An answer and its bytes as they came."""
    with server.http.stream("GET", path, headers=headers) as answer:
        return answer, b"".join(answer.iter_raw())


@pytest.mark.parametrize("path", ["/", "/new", "/datasets", "/openapi.json", "/v1/networks"])
def test_text_is_compressed_for_those_who_take_it(shared: Server, path: str) -> None:
    plain, body = raw(shared, path, **PAGE, **{"Accept-Encoding": "identity"})
    packed, smaller = raw(shared, path, **PAGE, **{"Accept-Encoding": "br;q=1, gzip;q=0.5"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) == len(smaller) < len(body) / 2
    assert len(gzip.decompress(smaller)) == pytest.approx(len(body), abs=40)
    for answer in (plain, packed):
        assert "Accept-Encoding" in answer.headers["vary"]
    refused, _ = raw(shared, path, **PAGE, **{"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in refused.headers


def test_a_live_stream_is_never_compressed(server: Server) -> None:
    job = server.submit()
    with server.stream(job["urls"]["events"], **{"Accept-Encoding": "gzip"}) as live:
        assert "content-encoding" not in live.response.headers
        assert next(live.messages())[2]["type"] == "queued"


def test_files_with_a_tag_of_their_own_bytes_pass_as_they_are(shared: Server) -> None:
    picture = shared.get("/v1/datasets/digits/preview")["picture"]
    answer, body = raw(shared, picture, **{"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert body.startswith(b"\x89PNG")


def test_a_problem_is_readable_compressed_or_not(shared: Server) -> None:
    path = "/v1/jobs/" + "x" * 2000
    answer = shared.http.get(path)
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json()["status"] == 404
    page = shared.http.get("/jobs/" + "x" * 2000, headers=PAGE)
    assert "<h1>" in page.text


def test_browsers_keep_what_a_page_loads_for_as_long_as_nothing_changes(shared: Server) -> None:
    page = shared.http.get("/new", headers=PAGE).text
    addresses = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page))
    assert addresses
    for address in addresses:
        answer = shared.http.get(address)
        assert "immutable" in answer.headers["cache-control"]
        again = shared.http.get(address, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        # Under its own name, or of a version that is no more, it is asked for again.
        name = address.split("/", 3)[3]
        for other in (f"/static/{name}", f"/static/0123456789ab/{name}"):
            other_answer = shared.http.get(other)
            assert other_answer.content == answer.content
            assert other_answer.headers["cache-control"] == "no-cache"


def test_a_file_has_another_tag_in_another_coding(shared: Server) -> None:
    plain, body = raw(shared, "/static/jobs/form.js", **{"Accept-Encoding": "identity"})
    packed, smaller = raw(shared, "/static/jobs/form.js", **{"Accept-Encoding": "gzip"})
    assert plain.headers["etag"] != packed.headers["etag"]
    assert gzip.decompress(smaller) == body
    head = shared.http.head("/static/jobs/form.js", headers={"Accept-Encoding": "identity"})
    assert (head.content, int(head.headers["content-length"])) == (b"", len(body))


@pytest.mark.parametrize("name", ["../main.py", "%2e%2e/main.py", "nothing.js", "", "web"])
def test_nothing_but_the_files_of_the_folder_is_served(shared: Server, name: str) -> None:
    assert shared.http.get(f"/static/{name}").status_code == 404


def test_files_cannot_be_changed(shared: Server) -> None:
    assert shared.http.post("/static/jobs/form.js").status_code == 405


@pytest.mark.parametrize("path", ["/", "/new", "/datasets", "/datasets/digits", "/system"])
def test_a_page_and_all_that_it_loads_weigh_little(shared: Server, path: str) -> None:
    """100 kB take eight seconds at 100 kbit/s, and a second at 800."""
    found = {path: raw(shared, path, **PAGE, **{"Accept-Encoding": "gzip"})[1]}
    waiting = [(path, found[path])]
    while waiting:
        place, text = waiting.pop()
        text = gzip.decompress(text) if text.startswith(b"\x1f\x8b") else text
        page = text.decode(errors="replace")
        for address in re.findall(r'(?:src|href)="(/static/[^"]+)"|from "(\.\.?/[^"]+)"', page):
            own = "/static/" + address[0].split("/", 3)[-1]
            name = own if address[0] else urljoin(place, address[1])
            if name not in found:
                found[name] = raw(shared, name, **{"Accept-Encoding": "gzip"})[1]
                waiting.append((name, found[name]))
    assert sum(map(len, found.values())) < 100_000, {k: len(v) for k, v in found.items()}
