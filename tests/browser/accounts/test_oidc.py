"""Signing in by a real provider in a real browser, and out again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.api.accounts.oidc.real import Issuer, of_issuer
from tests.api.accounts.people import opened, with_keys
from tests.api.conftest import Server, serving

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory, issuer = tmp_path_factory.mktemp("oidc"), Issuer()
    url = f"sqlite:///{directory / 'saf.sqlite3'}"
    given = of_issuer(issuer.address, oidc_new_users="create")
    with serving(with_keys(directory, url, **given)) as server, issuer.running(server.address):
        opened(server)
        yield server


def leads_to_the_provider(page: Page) -> None:
    page.route("https://fonts.googleapis.com/**", lambda route: route.fulfill(body=""))
    page.get_by_role("link", name="Sign in with Lab").click()


def test_the_button_leads_to_the_provider_and_back_to_the_page_that_was_asked_for(
    tabs: Tabs, server: Server
) -> None:
    page = tabs.open(f"{server.address}/new")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert Axe().run(page).response["violations"] == []
    leads_to_the_provider(page)
    page.get_by_placeholder("Enter any login").fill("sub-of-mia")
    page.get_by_placeholder("and password").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(f"{server.address}/new")
    page.get_by_role("button", name="Submit").first.click()
    expect(page.get_by_text("of mia")).to_be_visible()
    page.get_by_role("link", name="mia", exact=True).click()
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page).to_have_url(re.compile(f"^{re.escape(server.address)}/login"))
    expect(page.get_by_role("link", name="Sign out there too")).to_be_visible()


def test_who_says_no_there_is_back_at_the_page_to_sign_in(tabs: Tabs, server: Server) -> None:
    page = tabs.open(f"{server.address}/new")
    leads_to_the_provider(page)
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_role("alert")).to_contain_text("Lab was told not to let you in here")
    tabs.complaints[:] = [text for text in tabs.complaints if "status of 401" not in text]
