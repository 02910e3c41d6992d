"""The list of jobs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.service import Pages

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs


def test_a_new_job_appears_and_moves_without_reloading(tabs: Tabs, pages: Pages) -> None:
    page = tabs.open(pages.url)
    job_id, claim = pages.running(name="appears")
    row = page.locator(f"#{job_id}")
    expect(row).to_contain_text("running")
    pages.report(claim, {"test_accuracy": [(40, 0.875)]})
    expect(row).to_contain_text("87.50 %")
    expect(row).to_contain_text("40 %")
    pages.cancelled(claim)
    expect(row).to_contain_text("cancelled")


def test_a_name_with_html_is_shown_as_text(tabs: Tabs, pages: Pages) -> None:
    name = "<img src=x onerror=alert(1)> & <b>bold</b> \"'"
    job_id, claim = pages.running(name=name, metadata={"note": "<i>slanted</i>"})
    page = tabs.open(pages.url)
    expect(page.locator(f"#{job_id} .name")).to_have_text(name)
    page.locator(f"#{job_id} .name a").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    expect(page.locator("#facts")).to_contain_text("<i>slanted</i>")
    pages.cancelled(claim)
    expect(page.locator("#status")).to_have_text("cancelled")
    expect(page.get_by_role("heading", level=1)).to_have_text(name)


def test_filters_stand_in_the_address_and_back_undoes_them(tabs: Tabs, pages: Pages) -> None:
    for method in ("saf-e", "bptt"):
        _, claim = pages.running(name=f"filtered {method}", method={"name": method})
        pages.cancelled(claim)
    page = tabs.open(pages.url)
    page.get_by_label("Search").fill("filtered")
    page.wait_for_url("**/?q=filtered")
    expect(page.locator("#jobs tbody tr")).to_have_count(2)
    page.get_by_label("Method").select_option("bptt")
    page.wait_for_url(re.compile("method=bptt"))
    expect(page.locator("#jobs tbody tr")).to_have_count(1)
    expect(page.locator("#jobs tbody tr")).to_contain_text("filtered bptt")
    page.reload()
    expect(page.get_by_label("Method")).to_have_value("bptt")
    expect(page.locator("#jobs tbody tr")).to_have_count(1)
    page.go_back()
    expect(page.locator("#jobs tbody tr")).to_have_count(2)
    page.get_by_label("Search").fill("matches nothing at all")
    expect(page.locator("#jobs")).to_contain_text("No job matches")
