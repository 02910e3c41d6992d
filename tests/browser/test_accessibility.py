"""A screen reader and a keyboard find their way: axe-core on every page, in both themes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.service import Pages

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs


@pytest.fixture(scope="module")
def addresses(pages_server: Pages, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Every page, with something on it; its tests ask `pages_server`, where it stays so."""
    pages = pages_server
    done, claim = pages.running(name="done")
    points = [(step, 1 / step) for step in range(1, 40)]
    pages.report(claim, {"loss": points, "val_accuracy": [(10, 0.5), (39, 0.75)]})
    pages.succeed(claim)
    running, claim = pages.running(name="running")
    pages.report(claim, {"loss": points, "firing_rate/layer1": [(39, 0.1)]})
    sweep = pages.http.post(
        "/v1/sweeps", json={"over": {"/seed": [0, 1], "/epochs": [1, 2]}}
    ).json()
    pages.http.post(f"/v1/sweeps/{sweep['id']}/cancel").raise_for_status()
    events = upload_events(pages, tmp_path_factory.mktemp("events"))
    yield [
        "/",
        f"/jobs/{done}",
        f"/jobs/{running}",
        f"/compare?jobs={done},{running}",
        "/sweeps",
        f"/sweeps/{sweep['id']}",
        "/new",
        "/new?preset=saf-e-cifar10",
        "/datasets",
        "/networks",
        "/datasets/digits",
        f"/datasets/{events}",
        "/system",
        "/jobs/job_nowhere",
    ]
    pages.end_all()


def upload_events(pages: Pages, folder: Path) -> str:
    """A data set of event frames: a dot that moves by one pixel a step."""
    x = np.zeros((8, 5, 2, 12, 12), np.uint8)
    for step in range(5):
        x[:, step, step % 2, 6, 2 * step] = 3
    np.savez(folder / "dots.npz", x_train=x, y_train=np.arange(8) % 2, x_test=x[:2], y_test=[0, 1])
    content = (folder / "dots.npz").read_bytes()
    name = f"dots {folder.name}"
    answer = pages.http.post(
        "/v1/datasets", files={"file": ("dots.npz", content)}, data={"name": name}
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def violations(page: Page) -> list[str]:
    """What axe-core objects to, each with the elements."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{page.url} {entry['id']}: {entry['help']}: {node['html'][:200]} {node['failureSummary']}"
        for entry in found
        for node in entry["nodes"]
    ]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_to_object_to(
    tabs: Tabs, pages_server: Pages, addresses: list[str], width: int, scheme: str
) -> None:
    page = tabs.open(
        pages_server.url,
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    found = []
    for address in addresses:
        page.goto(pages_server.url + address)
        page.wait_for_load_state("networkidle" if address.startswith("/new") else "load")
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        found += violations(page)
    assert found == [], "\n".join(found)
    tabs.complaints[:] = [text for text in tabs.complaints if "status of 4" not in text]


def test_every_page_has_landmarks_and_a_way_to_its_content(
    tabs: Tabs, pages_server: Pages, addresses: list[str]
) -> None:
    page = tabs.open(pages_server.url)
    for address in addresses:
        page.goto(pages_server.url + address)
        for landmark in ("banner", "main"):
            expect(page.get_by_role(landmark)).to_have_count(1)
        expect(page.get_by_role("navigation", name="Main")).to_have_count(1)
        page.keyboard.press("Tab")
        expect(page.get_by_text("To the content")).to_be_focused()
        page.keyboard.press("Enter")
        page.wait_for_url("**#content")
    tabs.complaints[:] = [text for text in tabs.complaints if "status of 4" not in text]


FOCUS = """
() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const style = getComputedStyle(element);
  const box = element.getBoundingClientRect();
  return {
    name: element.outerHTML.slice(0, 120),
    ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1,
    seen: box.width > 0 && box.height > 0,
  };
}
"""


@pytest.mark.parametrize("path", ["/", "/new", "/datasets", "/datasets/digits", "/system"])
def test_all_that_can_be_used_is_reached_by_the_tab_key_and_shows_it(
    tabs: Tabs, pages: Pages, path: str
) -> None:
    page = tabs.open(pages.url + path)
    usable = page.locator(
        "a[href]:visible, button:visible:enabled, input:visible, select:visible, textarea:visible"
    )
    wanted = usable.count()
    reached = set()
    for _ in range(wanted + 12):  # scrollable regions and summaries as well
        page.keyboard.press("Tab")
        focus = page.evaluate(FOCUS)
        if focus is None:
            break
        assert focus["ring"], focus["name"]
        assert focus["seen"], focus["name"]
        reached.add(page.evaluate("document.activeElement.outerHTML"))
    outer = usable.evaluate_all("(all) => all.map((element) => element.outerHTML)")
    assert set(outer) <= reached


def test_nothing_moves_for_those_who_asked_for_it(tabs: Tabs, pages: Pages) -> None:
    _, claim = pages.running(name="breathes")
    page = tabs.open(pages.url, reduced_motion="reduce")
    moving = "document.getAnimations().filter((a) => a.playState === 'running').length"
    assert page.evaluate(moving) == 0
    page.emulate_media(reduced_motion="no-preference")
    page.wait_for_function(f"{moving} > 0")
    pages.cancelled(claim)


def test_messages_of_the_pages_are_said_aloud(tabs: Tabs, pages: Pages) -> None:
    page = tabs.open(f"{pages.url}/datasets")
    assert page.locator("#said").get_attribute("role") == "status"
    assert page.locator("#problems").get_attribute("role") == "alert"
    assert page.locator("#connection").get_attribute("role") == "status"
    page.goto(f"{pages.url}/new")
    assert page.locator("#warnings").get_attribute("aria-live") == "polite"
    assert page.locator("#refusal").get_attribute("role") == "alert"
