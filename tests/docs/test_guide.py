"""The guide: built without a warning, shown by the service, under its policy, with no network."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import saf
from api.settings import Settings
from tests.api.conftest import NO_BROKER, Server, serving
from tests.waiting import PATIENCE

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PAGE = {"accept": "text/html"}


@pytest.fixture(scope="module")
def built() -> Path:
    """The folder of the guide, where a warning would have ended the build."""
    subprocess.run(["sh", "scripts/guide", "--if-old"], cwd=ROOT, check=True)
    return ROOT / "api" / "built" / "guide"


@pytest.fixture(scope="module")
def server(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(settings(tmp_path_factory.mktemp("guide"))) as server:
        yield server


def settings(directory: Path, **more: str) -> Settings:
    url = f"sqlite:///{directory / 'guide.sqlite3'}"
    return Settings(data_dir=directory, database_url=url, broker_url=NO_BROKER, **more)  # type: ignore[arg-type]


def test_the_guide_has_every_chapter_and_its_start_links_to_each(built: Path) -> None:
    for chapter in (ROOT / "docs").rglob("*.md"):
        page = chapter.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert (built / page).exists()
        assert f'href="{page}"' in (built / "index.html").read_text() or page == "index.html", page


def test_generated_chapters_name_every_setting_command_and_route(
    built: Path, server: Server
) -> None:
    document = server.get("/openapi.json")
    shown = text_of(built / "settings.html")
    for name, field in document["components"]["schemas"]["JobSpecification"]["properties"].items():
        assert f" {name}" in shown, name
        words = " ".join(field.get("description", "").split())[:30]
        assert words.partition("`")[0] in shown, name
    commands = text_of(built / "commands.html")
    for command in ("submit", "watch", "sweep submit", "backup", "serve", "worker drain"):
        assert f"saf {command}" in commands
    routes = text_of(built / "http.html")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation.get("tags"):
                assert f"{method.upper()} {path}" in routes


def text_of(page: Path) -> str:
    return " ".join(re.sub(r"<[^>]+>", "", page.read_text()).split())


def test_the_service_shows_the_guide_and_its_pages_link_to_it(server: Server) -> None:
    answer = server.http.get("/guide", headers=PAGE, follow_redirects=True)
    assert answer.status_code == 200
    assert answer.url.path == "/guide/"
    assert "<h1>" in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'self'; img-src")
    assert "unsafe" not in answer.headers["content-security-policy"]
    for path in ("/", "/new", "/system", "/docs", "/jobs/nothing"):
        assert 'href="/guide/"' in server.http.get(path, headers=PAGE).text, path


def test_a_page_is_asked_for_again_and_not_sent_twice(server: Server) -> None:
    first = server.http.get("/guide/index.html")
    assert first.headers["cache-control"] == "no-cache"
    again = server.http.get("/guide/index.html", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = server.http.head("/guide/index.html")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(first.content))
    types = {
        "/guide/searchindex.js": "javascript",
        "/guide/_static/guide.css": "text/css",
        "/guide/_static/icon.svg": "image/svg+xml",
    }
    for path, kind in types.items():
        assert kind in server.http.get(path).headers["content-type"]


@pytest.mark.parametrize(
    "path",
    ["/guide/nothing.html", "/guide/..%2Fstamp", "/guide/%2e%2e/stamp", "/guide//etc/passwd"],
)
def test_nothing_but_the_guide_is_shown(server: Server, path: str) -> None:
    assert server.http.get(path, headers=PAGE).status_code == 404


def test_the_guide_takes_no_other_method(server: Server) -> None:
    answer = server.http.post("/guide/index.html")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_where_it_was_not_built_a_sentence_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.web.guide.FOLDER", tmp_path / "guide")
    with serving(settings(tmp_path)) as server:
        for path in ("/guide", "/guide/", "/guide/settings.html"):
            answer = server.http.get(path, headers=PAGE, follow_redirects=True)
            assert answer.status_code == 404
            assert "make docs" in answer.text
        (tmp_path / "guide").mkdir()
        (tmp_path / "guide" / "index.html").write_text("<h1>built since</h1>")
        assert "built since" in server.http.get("/guide/").text


def test_under_a_prefix_the_guide_leads_nowhere_else(built: Path, tmp_path: Path) -> None:
    with serving(settings(tmp_path, root_path="/some/saf")) as server:
        answer = httpx.get(f"{server.address}/some/saf/guide", headers=PAGE, timeout=PATIENCE)
        assert answer.headers["location"] == "/some/saf/guide/"
        page = httpx.get(f"{server.address}/some/saf/guide/", headers=PAGE, timeout=PATIENCE).text
        assert 'href="/some/saf/guide/"' in server.http.get("/new", headers=PAGE).text
    addresses = re.findall(r'(?:src|href)="([^"#]*)', page)
    assert addresses
    assert not [each for each in addresses if each.startswith(("/", "http:", "//"))]


def test_the_reference_has_every_public_name(built: Path) -> None:
    page = (built / "api.html").read_text()
    for name in saf.__all__:
        home = getattr(saf, name).__module__
        assert f'id="saf.{name}"' in page or f'id="{home}.{name}"' in page, name
