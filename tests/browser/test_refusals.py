"""What pages say when something between them and the service answers, or nothing does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.service import Pages

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs

GATEWAY = "<html><body><h1>502 Bad Gateway</h1></body></html>"
SAID = {"gateway": "The server answered 502.", "silence": "The server does not answer."}


@pytest.fixture(params=["gateway", "silence"])
def failing(request: pytest.FixtureRequest, tabs: Tabs) -> Iterator[str]:
    """How requests that change something fail; the browser's own complaints of it are expected."""
    yield request.param
    expected = ("status of 502", "ERR_FAILED")
    tabs.complaints[:] = [text for text in tabs.complaints if not any(e in text for e in expected)]


def fail(page: Page, how: str) -> None:
    def answer(route: Route) -> None:
        if route.request.method == "GET":
            route.fallback()
        elif how == "gateway":
            route.fulfill(status=502, content_type="text/html", body=GATEWAY)
        else:
            route.abort()

    page.route("**/v1/**", answer)


def ended(pages: Pages, name: str) -> str:
    job_id, claim = pages.running(name=name)
    pages.cancelled(claim)
    return job_id


def test_an_action_on_a_job(tabs: Tabs, pages: Pages, failing: str) -> None:
    page = tabs.open(f"{pages.url}/jobs/{ended(pages, 'not retried')}")
    fail(page, failing)
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("#refusal")).to_have_text(f"This could not be done: {SAID[failing]}")


def test_an_action_on_many_jobs(tabs: Tabs, pages: Pages, failing: str) -> None:
    name = f"not deleted {failing}"
    job_id = ended(pages, name)
    page = tabs.open(f"{pages.url}/?q={name}")
    fail(page, failing)
    page.locator(f"#{job_id} input").check()
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Delete 1 job").click()
    told = page.get_by_role("dialog", name="0 of 1 job deleted, 1 not")
    expect(told).to_contain_text(f"{name}: {SAID[failing]}")


def test_the_form_keeps_what_was_typed(tabs: Tabs, pages: Pages, failing: str) -> None:
    page = tabs.open(f"{pages.url}/new")
    expect(page.locator("#resolved")).to_contain_text("digits")
    fail(page, failing)
    page.get_by_label("Name", exact=True).fill("kept")
    expect(page.locator("#refusal")).to_contain_text(SAID[failing])
    page.get_by_role("button", name="Submit job").click()
    expect(page.locator("#refusal")).to_contain_text(SAID[failing])
    expect(page.get_by_role("button", name="Submit job")).to_be_enabled()
    expect(page.get_by_label("Name", exact=True)).to_have_value("kept")
