"""Notifications of the browser: asked for by a click alone, shown while any page is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import Page, expect

from tests.browser.service import Pages
from tests.waiting import until

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs

# What a browser without a desktop shows to nobody.
KEEPS = """
window.shown = [];
window.asked = 0;
window.Notification = class {
  static permission = sessionStorage.getItem("granted") || "default";
  static async requestPermission() {
    window.asked += 1;
    sessionStorage.setItem("granted", "granted");
    return (this.permission = "granted");
  }
  constructor(title, options) { window.shown.push([title, options.body]); }
};
"""


def keeping(tabs: Tabs, pages: Pages) -> Page:
    page = tabs.open(pages.url + "/docs")
    page.context.add_init_script(KEEPS)
    page.goto(pages.url)
    return page


def test_what_ends_is_told_on_whatever_page_is_open(tabs: Tabs, pages: Pages) -> None:
    page = keeping(tabs, pages)
    button = page.get_by_role("button", name="Notify me")
    expect(button).to_have_attribute("aria-pressed", "false")
    assert page.evaluate("asked") == 0
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("asked") == 1
    _, claim = pages.running(name="watched")
    expect(page.get_by_role("link", name="watched")).to_be_visible()
    until(
        lambda: page.evaluate("(localStorage.getItem('saf-notify-going') ?? '').includes('job_')")
    )
    page.goto(pages.url + "/system")
    pages.cancelled(claim)
    until(lambda: page.evaluate("shown"))
    assert page.evaluate("shown") == [["Job watched was cancelled", ""]]
    page.goto(pages.url)
    page.get_by_role("button", name="Notify me").click()
    expect(page.get_by_role("button", name="Notify me")).to_have_attribute("aria-pressed", "false")


def test_a_sweep_is_told_once(tabs: Tabs, pages: Pages) -> None:
    page = keeping(tabs, pages)
    page.get_by_role("button", name="Notify me").click()
    sweep = {"job": {"dataset": "digits"}, "over": {"/seed": [0, 1]}, "name": "both"}
    made = pages.http.post("/v1/sweeps", json=sweep).json()
    until(
        lambda: page.evaluate(
            "JSON.parse(localStorage.getItem('saf-notify-going') ?? '[]').length >= 2"
        )
    )
    pages.http.post(f"/v1/sweeps/{made['id']}/cancel")
    until(lambda: page.evaluate("shown"))
    until(lambda: page.evaluate("localStorage.getItem('saf-notify-going') === '[]'"))
    assert page.evaluate("[...new Set(shown.map(String))]") == ["Sweep both has ended,cancelled: 2"]
