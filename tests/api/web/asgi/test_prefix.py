"""The service under a path of a server, behind nginx that takes the path away or passes it on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from api.settings import Settings
from saf.client.client import Client
from tests.api.conftest import NO_BROKER, Server, serving
from tests.reverse_proxy import NGINX, proxied
from tests.waiting import PATIENCE

GUIDE = Path(__file__).parents[4] / "api" / "built" / "guide" / "index.html"  # by scripts/guide
ADDRESS = re.compile(r'(?<![\w-])(?:href|src|action|data-url)="([^"#]+)"')
POSTED = re.compile(r'<form[^>]*method="post"[^>]*action="([^"]+)"')
PAGE = {"accept": "text/html"}
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("behind"),
        broker_url=NO_BROKER,
        root_path="/some/saf/",
        trusted_proxies=("127.0.0.1",),
    )
    with serving(settings) as server:
        claims = [server.submit(name="a run", metadata={"a": "b"}) for _ in range(2)]
        assert claims
        claim = server.run()
        server.progress(claim, step=5, accuracy=0.5)
        server.fail(claim)
        yield server


@pytest.fixture(scope="module", params=["strips", "passes on"])
def front(
    request: pytest.FixtureRequest, behind: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("nginx")
    strips = request.param == "strips"
    with proxied(directory, behind.address, "/some/saf", strips=strips, scheme="https") as url:
        yield url


def pages(http: httpx.Client, front: str) -> list[str]:
    job = http.get(f"{front}/v1/jobs").json()["data"][0]
    sweep = http.post(
        f"{front}/v1/sweeps", json={"job": {"dataset": "digits"}, "over": {"/seed": [1, 2]}}
    ).json()
    return [
        *("/", "/new", "/sweeps", "/datasets", "/system", "/docs", "/datasets/digits"),
        *(f"/jobs/{job['id']}", f"/compare?jobs={job['id']}", f"/sweeps/{sweep['id']}"),
        *("/?q=nothing+like+that", "/jobs/job_nowhere", f"/new?from={job['id']}", "/?sort=name"),
        "/compare",
    ]


def test_every_address_of_every_page_lies_under_the_prefix_and_is_there(front: str) -> None:
    seen, posted = set(), set()
    with httpx.Client(timeout=PATIENCE, headers=PAGE) as http:
        for path in pages(http, front):
            text = http.get(front + path).text
            posted |= {urljoin(front, unescape(action)) for action in POSTED.findall(text)}
            for found in ADDRESS.findall(text):
                address = urljoin(front + path, unescape(found))
                if urlsplit(address).netloc != urlsplit(front).netloc:
                    continue  # the page of a well-known data set
                assert address.startswith(front + "/"), (path, found)
                seen.add(address)
        assert len(seen) > 40
        for address in seen:
            missing = urlsplit(address).path.endswith("/job_nowhere")
            missing |= address.startswith(f"{front}/guide") and not GUIDE.is_file()
            expected = 405 if address in posted else 404 if missing else 200
            assert http.get(address).status_code == expected, address


def test_scripts_name_no_address_without_the_prefix() -> None:
    folder = Path(__file__).parents[4] / "api" / "static"
    scripts = [path for path in folder.rglob("*.js") if "vendor" not in path.parts]
    assert scripts
    for script in scripts:
        for line in script.read_text().splitlines():
            if re.match(r"\s*(//|\*|/\*)", line):
                continue
            for found in re.finditer(r"""["'`]/(v1|jobs|new|sweeps|datasets|compare)\b""", line):
                assert line[: found.start()].endswith("at("), (script.name, line)


def test_documents_and_redirects_are_followed_by_any_client(front: str) -> None:
    with httpx.Client(timeout=PATIENCE, follow_redirects=False) as http:
        made = http.post(f"{front}/v1/jobs", json={"dataset": "digits"})
        assert made.headers["location"] == f"/some/saf/v1/jobs/{made.json()['id']}"
        assert http.get(urljoin(front, made.headers["location"])).json()["id"]
        for name, path in made.json()["urls"].items():
            assert http.get(urljoin(front, path)).status_code == 200, name
        turned = http.get(f"{front}/system/")
        assert turned.status_code == 307
        assert turned.headers["location"] == "/some/saf/system"
        assert http.get(front + "/v1/jobs/?limit=1").headers["location"] == (
            "/some/saf/v1/jobs?limit=1"
        )
        described = http.get(f"{front}/openapi.json").json()
        assert described["servers"] == [{"url": "/some/saf"}]


def test_what_pages_say_to_type_has_the_scheme_of_the_client_and_the_prefix(front: str) -> None:
    host = urlsplit(front).netloc
    text = httpx.get(f"{front}/?q=nothing+like+that", headers=PAGE, timeout=PATIENCE).text
    text += httpx.get(f"{front}/datasets", headers=PAGE, timeout=PATIENCE).text
    assert f"curl https://{host}/some/saf/v1/" in text
    assert "curl http://" not in text


def test_the_python_client_works_under_the_prefix(front: str, tmp_path: Path) -> None:
    with Client(front) as client:
        job = client.submit({"dataset": "digits"})
        assert client.get(job["id"])["id"] == job["id"]
        assert job["id"] in [found["id"] for found in client.jobs(page=1)]
        assert client.cancel(job["id"])["status"] == "cancelled"
        *_, done = client.watch(job["id"])
        assert done.kind == "done"
        assert done.data["urls"]["self"] == f"/some/saf/v1/jobs/{job['id']}"
        assert (
            httpx.get(
                client.address(job["urls"]["page"]), headers=PAGE, timeout=PATIENCE
            ).status_code
            == 200
        )
        assert list(client.datasets())
        assert client.metrics(job["id"])["series"] == []


def test_a_live_stream_comes_through(front: str) -> None:
    job = httpx.post(f"{front}/v1/jobs", json={"dataset": "digits"}, timeout=PATIENCE).json()
    headers = {"accept": "text/event-stream"}
    with httpx.stream(
        "GET", front + f"/v1/jobs/{job['id']}/events", headers=headers, timeout=PATIENCE
    ) as answer:
        line = next(line for line in answer.iter_lines() if line.startswith("data:"))
    assert job["id"] in line


@pytest.mark.parametrize(
    "prefix", ["saf", "/a b", "/v1", "/jobs/x", "/a?b", "//", "/static", "/guide"]
)
def test_a_prefix_that_cannot_be_is_refused(prefix: str) -> None:
    if prefix == "//":
        assert Settings(root_path=prefix).root_path == ""
        return
    with pytest.raises(ValueError, match=r"path of a server|address of the service"):
        Settings(root_path=prefix)


def test_without_a_prefix_redirects_name_no_scheme_and_no_host(shared: Server) -> None:
    answer = shared.http.get("/system/", follow_redirects=False)
    assert answer.headers["location"] == "/system"
    job: dict[str, Any] = shared.submit()
    assert job["urls"]["self"] == f"/v1/jobs/{job['id']}"
    assert "servers" not in shared.get("/openapi.json")
