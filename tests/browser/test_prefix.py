"""The pages under a path of a server, behind nginx: they load, live, and lead nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, expect

from api.store.jobs import lifecycle
from tests.browser.service import Pages
from tests.reverse_proxy import NGINX, proxied

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


@pytest.fixture(scope="module")
def front(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Pages, str]]:
    directory: Path = tmp_path_factory.mktemp("front")
    pages = Pages(directory, SAF_ROOT_PATH="/some/saf")
    try:
        with proxied(directory, pages.url, "/some/saf", strips=True) as url:
            yield pages, url
    finally:
        pages.close()


def test_pages_load_live_and_act_under_a_prefix(tabs: Tabs, front: tuple[Pages, str]) -> None:
    pages, url = front
    job_id, claim = pages.running(name="under a prefix")
    pages.report(claim, {"loss": [(1, 2.0), (2, 1.0)]})
    page = tabs.open(url + "/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in ("/", "/new", "/datasets", "/sweeps", "/system", f"/jobs/{job_id}", "/docs"):
        page.goto(url + path)
        expect(page.locator("body")).to_be_visible()
    page.goto(url + "/")
    page.get_by_role("link", name="under a prefix").click()
    expect(page).to_have_url(f"{url}/jobs/{job_id}")
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("under a prefix"))
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#status")).to_have_text("cancelling")
    with pages.database.writing() as session:
        lifecycle.stopped(session, claim)
    expect(page.locator("#status")).to_have_text("cancelled")
    page.goto(url + "/docs")
    expect(page.locator(".opblock").first).to_be_visible()
    page.goto(url + "/new")
    page.get_by_role("button", name="Submit job").click()
    expect(page).to_have_url(re.compile(rf"{re.escape(url)}/jobs/job_\w+"))
    elsewhere = [address for address in asked if not address.startswith((url + "/", "data:"))]
    assert elsewhere == []
