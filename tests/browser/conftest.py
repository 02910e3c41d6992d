"""A real Chromium in front of a real service. A page that logs an error fails its test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.browser.service import Pages, WholeService
from tests.waiting import PATIENCE

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE_MS = 1000 * PATIENCE
FLAGS = ["--no-sandbox", "--disable-background-networking"]


def find_chromium(installed_by_playwright: str) -> str | None:
    """The path of a Chromium: `SAF_CHROMIUM`, one on the path, or playwright's own."""
    candidates = [os.environ.get("SAF_CHROMIUM"), *(shutil.which(name) for name in NAMES)]
    if Path(installed_by_playwright).exists():
        candidates.append(installed_by_playwright)
    return next((path for path in candidates if path), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        path = find_chromium(playwright.chromium.executable_path)
        if path is None:
            reason = (
                "NO BROWSER: no Chromium was found, so the pages are not tested; install one "
                "(`python -m playwright install chromium`) or name it in SAF_CHROMIUM"
            )
            if os.environ.get("CI", "").lower() in ("true", "1"):
                pytest.fail(reason)
            pytest.skip(reason)
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Tabs:
    """Opens pages, each in a context of its own, and keeps what they complain about."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[Any] = []
        self.complaints: list[str] = []

    def open(self, url: str, **options: Any) -> Page:
        context = self._browser.new_context(**{"locale": "en-GB", **options})
        context.set_default_timeout(PATIENCE_MS)
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.goto(url)
        return page

    def close(self) -> None:
        """Close them all: before a server that a test ends itself, or they complain about it."""
        while self._contexts:
            self._contexts.pop().close()

    def _on_console(self, message: ConsoleMessage) -> None:
        # A violation of the Content-Security-Policy arrives here as an error as well.
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.location.get('url')}: {message.text}")


@pytest.fixture
def tabs(browser: Browser) -> Iterator[Tabs]:
    tabs = Tabs(browser)
    yield tabs
    tabs.close()
    assert tabs.complaints == []


@pytest.fixture(scope="session")
def pages_server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    service = Pages(tmp_path_factory.mktemp("pages"))
    yield service
    service.close()


@pytest.fixture
def pages(pages_server: Pages) -> Iterator[Pages]:
    """The web process alone; a test imitates the worker."""
    yield pages_server
    pages_server.end_all()


@pytest.fixture(scope="session")
def service(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeService]:
    """Everything, with a worker that trains."""
    service = WholeService(tmp_path_factory.mktemp("service"))
    yield service
    service.close()
