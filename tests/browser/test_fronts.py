"""A person behind nginx, or Caddy, with TLS and a path: signs in, uploads, submits, watches live,
downloads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, expect

from api.store.accounts import keys, users
from tests.browser.service import Pages
from tests.browser.test_datasets_page import images
from tests.fronts import PREFIX, PROGRAMS, fronted
from tests.waiting import until

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs

KINDS = [
    pytest.param(name, marks=pytest.mark.skipif(found is None, reason=f"{name} is not installed"))
    for name, found in PROGRAMS.items()
]


@pytest.fixture(scope="module")
def behind(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    pages = Pages(
        tmp_path_factory.mktemp("behind"),
        SAF_ROOT_PATH=PREFIX,
        SAF_AUTH="keys",
        SAF_TRUSTED_PROXIES=json.dumps(["127.0.0.1"]),
    )
    yield pages
    pages.close()


@pytest.mark.parametrize("program", KINDS)
def test_a_person_works_behind_a_front(
    tabs: Tabs, behind: Pages, program: str, tmp_path: Path
) -> None:
    with behind.database.writing() as session:
        _, secret = keys.add(session, users.find(session, "admin"), "of a test")
    name = f"squares-{program}"
    with fronted(program, tmp_path, behind.url) as url, closing(tabs):
        page = tabs.open(url + "/datasets", ignore_https_errors=True)
        page.get_by_label("Key").fill(secret)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(url + "/datasets")
        (cookie,) = (one for one in page.context.cookies() if one["name"] == "saf_session")
        assert (cookie["secure"], cookie["path"]) == (True, PREFIX)

        asked: list[str] = []
        page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
        page.get_by_label("File").set_input_files(images(tmp_path, name, samples=40_000))
        page.get_by_label("Name").fill(name)
        page.get_by_role("button", name="Upload").click()
        expect(page.get_by_text(f"{name} is ready.")).to_be_visible()
        pieces = [one for one in asked if one.startswith(f"PATCH {url}/v1/uploads/")]
        assert pieces, "it went by tus"

        page.goto(f"{url}/new?dataset={name}")
        page.get_by_role("button", name="Submit job").first.click()
        expect(page).to_have_url(re.compile(rf"{re.escape(url)}/jobs/job_\w+"))
        expect(page.locator("#status")).to_have_text("queued")
        claim = behind.take()
        expect(page.locator("#status")).to_have_text("running")  # by the stream
        behind.report(claim, {"loss": [(1, 2.0), (2, 1.0)]})
        expect(page.locator("#steps")).to_contain_text("step 2 of 100")
        with page.expect_download() as download:
            page.get_by_role("link", name="All points (CSV)").click()
        assert "loss,1,2,1.0" in Path(download.value.path()).read_text()
        behind.cancelled(claim)
        expect(page.locator("#status")).to_have_text("cancelled")
        elsewhere = [
            one
            for one in asked
            if not one.partition(" ")[2].startswith((url + "/", "data:", "blob:"))
        ]
        assert elsewhere == []
        until(lambda: not page.get_by_text("Connection lost").is_visible())
