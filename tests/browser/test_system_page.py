"""The state of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.service import Pages

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs


def test_the_page_keeps_up_with_the_service_and_says_when_it_cannot(
    tabs: Tabs, pages: Pages
) -> None:
    page = tabs.open(f"{pages.url}/system")
    expect(page.locator("#verdict")).to_contain_text("No worker is alive")
    expect(page.locator("#storage")).to_contain_text("Artifacts")
    expect(page.locator("#parts")).to_contain_text("SQLite")
    job_id = pages.submit(name="waits its turn", priority=3)
    row = page.get_by_role("row").filter(has_text="waits its turn")
    expect(row).to_contain_text("3")
    pages.kill()
    expect(page.locator("#connection")).to_contain_text("may be out of date")
    pages.start()
    pages.http.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    expect(page.locator("#connection")).to_be_hidden()
    expect(row).to_have_count(0)
    tabs.complaints[:] = [text for text in tabs.complaints if "ERR_" not in text]


def test_a_request_that_is_never_answered_does_not_end_the_refreshing(
    tabs: Tabs, pages: Pages
) -> None:
    page = tabs.open("about:blank")
    page.clock.install()
    page.goto(f"{pages.url}/system")
    page.route("**/system", lambda route: None)
    with page.expect_request("**/system"):
        page.clock.run_for(10_000)
    page.clock.run_for(41_000)
    expect(page.locator("#connection")).to_contain_text("may be out of date")
    page.unroute("**/system")
    page.clock.run_for(10_000)
    expect(page.locator("#connection")).to_be_hidden()
    tabs.complaints[:] = [text for text in tabs.complaints if "ERR_" not in text]
