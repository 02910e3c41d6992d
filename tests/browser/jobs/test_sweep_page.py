"""The page of a sweep."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.service import Pages

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs


def test_a_sweep_is_live_sorted_and_cancelled(tabs: Tabs, pages: Pages) -> None:
    body = {"name": "decays", "over": {"/neuron/decay": [0.5, 0.25, 0.75]}, "job": {"priority": 0}}
    sweep = pages.http.post("/v1/sweeps", json=body).json()
    page = tabs.open(f"{pages.url}/sweeps")
    page.get_by_role("link", name="decays").click()
    table = page.get_by_role("region", name="Jobs")
    expect(page.get_by_role("heading", level=1)).to_have_text("decays")
    expect(page.locator("#counts")).to_contain_text("0 of 3 jobs ended")
    for accuracy in (0.5, 0.75):
        claim = pages.take()
        pages.report(claim, {"val_accuracy": [(10, accuracy)], "test_accuracy": [(10, accuracy)]})
        pages.succeed(claim)
    expect(page.locator("#counts")).to_contain_text("2 of 3 jobs ended")
    expect(table.get_by_role("row", name=re.compile("0.25"))).to_contain_text("75.00 % best")
    table.get_by_role("link", name="Test acc.").click()
    page.wait_for_url("**?sort=-test_accuracy")
    expect(table.get_by_role("row").nth(1)).to_contain_text("0.25")
    page.get_by_text("Name, tags and notes").click()
    page.get_by_label("Name").fill("decays of neurons")
    page.get_by_label("Tags").fill("paper, table 2")
    page.get_by_label("Notes, in Markdown").fill("See **this**.")
    page.get_by_label("Favourite").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("decays of neurons")
    expect(page.locator("#remarks")).to_contain_text("See this.")
    page.get_by_role("link", name="table 2").click()
    expect(page.locator("#marks")).to_contain_text("tagged table 2")
    page.get_by_role("link", name="decays of neurons").click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel all").click()
    expect(page.locator("#counts")).to_contain_text("3 of 3 jobs ended")
    expect(table.get_by_role("row", name=re.compile("cancelled"))).to_contain_text("0.75")
    page.get_by_role("button", name="Delete").click()
    page.wait_for_url("**/sweeps")
    assert pages.http.get(sweep["urls"]["self"]).status_code == 404
