"""Signing in, the page of the account, and a job in a project, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.api.accounts.people import Lab, make_lab, with_keys
from tests.api.conftest import serving

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("account")
    mail = {
        "smtp_host": "127.0.0.1",
        "smtp_port": 9,
        "smtp_sender": "saf@lab.example",
        "public_url": "http://lab.example",
    }
    url = f"sqlite:///{directory / 'lab.sqlite3'}"
    with serving(with_keys(directory, url, **mail)) as server:
        yield make_lab(server)


def violations(page: Page) -> list[str]:
    page.wait_for_load_state()  # a page that is half there has violations of its own
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]


def test_who_signs_in_submits_to_a_project_and_signs_out(tabs: Tabs, lab: Lab) -> None:
    page = tabs.open(f"{lab.server.address}/new")
    expect(page).to_have_title("Sign in · saf")
    assert violations(page) == []
    page.get_by_label("Key").fill(lab.keys["mia"])
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{lab.server.address}/new")
    chosen = page.get_by_label("Project that new jobs")
    chosen.select_option("vision")
    page.get_by_role("button", name="Submit").first.click()
    expect(page.get_by_text("of mia, project vision")).to_be_visible()
    expect(page.get_by_label("Project that new jobs")).to_have_value("vision")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".status.paused").first).to_be_visible()

    page.get_by_role("link", name="mia", exact=True).click()
    expect(page).to_have_title("Account · saf")
    page.get_by_label("Address").fill("mia@lab.example")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_text("waits for the link")).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert violations(page) == []
    page.get_by_label("For", exact=True).fill("laptop")
    page.get_by_role("button", name="Make a key").click()
    expect(page.locator("#secret")).to_have_text(re.compile("saf_"))
    page.get_by_role("link", name="Webhooks").click()
    expect(page).to_have_title("Webhooks · saf")  # a click does not wait for the page
    assert violations(page) == []
    page.get_by_role("link", name="mia", exact=True).click()
    expect(page).to_have_title("Account · saf")
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page).to_have_url(f"{lab.server.address}/login")
