"""Pages whose scripts are still on their way: no click is lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import Page, Route, expect

from tests.browser.service import Pages
from tests.browser.test_datasets_page import images, upload
from tests.browser.test_every_page import swept

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs

# A form with an address works without scripts; a disabled button says that it does not.
DOES_NOTHING = """
() => [...document.querySelectorAll("button")]
  .filter((button) => button.offsetParent && !button.matches(":disabled"))
  .filter((button) => !button.form?.hasAttribute("action"))
  .map((button) => button.outerHTML)
"""
WAITS = "() => document.querySelectorAll('main button:disabled').length"


class Scripts:
    """Scripts of a page, which arrive only while they are let through."""

    def __init__(self, page: Page) -> None:
        self._held: list[Route] = []
        self._through = False
        page.route("**/static/**/*.js", self._asked)

    def hold(self) -> None:
        self._through = False

    def let_through(self) -> None:
        self._through = True
        for route in self._held:
            route.continue_()
        self._held = []

    def _asked(self, route: Route) -> None:
        if self._through:
            route.continue_()
        else:
            self._held.append(route)


def test_a_button_that_needs_a_script_waits_for_it(tabs: Tabs, pages: Pages) -> None:
    job_id = pages.submit(name="early")
    page = tabs.open("about:blank")
    scripts = Scripts(page)
    page.goto(f"{pages.url}/jobs/{job_id}", wait_until="commit")
    pause = page.get_by_role("button", name="Pause")
    expect(pause).to_be_disabled()
    scripts.let_through()
    pause.click()
    expect(page.locator("#status")).to_contain_text("paused")


def test_no_page_has_a_button_that_does_nothing(tabs: Tabs, pages: Pages, tmp_path: Path) -> None:
    job_id, claim = pages.running(name="early")
    dataset_id = upload(pages, images(tmp_path, "early"))
    sweep_id = swept(pages)
    page = tabs.open("about:blank")
    scripts = Scripts(page)
    waiting = {}
    for path in (
        *("/", "/new", "/datasets", f"/datasets/{dataset_id}", "/networks", "/system"),
        *("/sweeps", f"/sweeps/{sweep_id}", f"/jobs/{job_id}", f"/compare?jobs={job_id}"),
    ):
        scripts.hold()
        page.goto(pages.url + path, wait_until="commit")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert page.evaluate(DOES_NOTHING) == [], path
        waiting[path] = page.evaluate(WAITS)
        scripts.let_through()
        page.wait_for_load_state("load")
        expect(page.locator("fieldset.scripted:disabled")).to_have_count(0)
    assert waiting["/new"] == 1
    assert waiting[f"/jobs/{job_id}"] > 1
    pages.cancelled(claim)


def test_a_page_says_that_its_buttons_need_scripts(pages: Pages) -> None:
    for path in (f"/jobs/{pages.submit(name='without')}", f"/sweeps/{swept(pages)}"):
        assert '<noscript><p class="notice">These buttons need' in pages.http.get(path).text
