"""The guide in a browser: under the policy of all pages, from nowhere else, on any screen."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.service import Pages

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def addresses() -> list[str]:
    """Every page of the guide."""
    subprocess.run(["sh", "scripts/guide", "--if-old"], cwd=ROOT, check=True)
    built = ROOT / "api" / "built" / "guide"
    return [
        f"/guide/{page.relative_to(built).as_posix()}" for page in sorted(built.rglob("*.html"))
    ]


def test_a_browser_loads_every_page_under_the_policy_and_from_nowhere_else(
    tabs: Tabs, pages: Pages, addresses: list[str]
) -> None:
    page = tabs.open(pages.url + "/guide/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for address in addresses:
        page.goto(pages.url + address)
        expect(page.locator("article[role=main]")).to_have_count(1)
        assert page.evaluate("document.body.dataset.theme") == "auto"  # the inline script ran
        wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not page.evaluate(wide), address
    assert [url for url in asked if not url.startswith((pages.url + "/guide/", "data:"))] == []


def test_a_reader_searches_reads_a_formula_and_returns_to_the_jobs(
    tabs: Tabs, pages: Pages, addresses: list[str]
) -> None:
    page = tabs.open(pages.url, viewport={"width": 390, "height": 844}, color_scheme="dark")
    page.get_by_role("link", name="Guide").click()
    expect(page).to_have_url(pages.url + "/guide/")
    page.goto(pages.url + "/guide/search.html?q=threshold")
    expect(page.locator("#search-results li").first).to_be_visible()
    page.goto(pages.url + "/guide/mathematics.html")
    box = page.locator("math[display=block] mfrac, math[display=block] munder").first.bounding_box()
    assert box is not None
    assert box["height"] > 20  # laid out, and not one symbol behind the other
    page.set_viewport_size({"width": 1280, "height": 800})
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(page).to_have_url(pages.url + "/")
