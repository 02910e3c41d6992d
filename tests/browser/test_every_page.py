"""What holds for every page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.service import Pages

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs

NO_NAME = """
() => [...document.querySelectorAll("input, select, textarea, button, progress, a")]
  .filter((element) => element.offsetParent && !element.labels?.length)
  .filter((element) => !element.ariaLabel && !element.textContent.trim())
  .map((element) => element.outerHTML)
"""


CUT_OFF = """
() => [...document.querySelectorAll("main *")]
  .filter((element) => element.scrollWidth > element.clientWidth + 1)
  .filter((element) => !element.closest(".uplot"))
  // What is there for readers of the page alone has no room on purpose.
  .filter((element) => getComputedStyle(element).clipPath !== "inset(50%)")
  .filter((element) => {
    const { overflowX, textOverflow } = getComputedStyle(element);
    return overflowX === "hidden" && textOverflow !== "ellipsis";
  })
  .map((element) => element.outerHTML.slice(0, 200))
"""


def swept(pages: Pages) -> str:
    """A sweep with long names and long values, none of which runs."""
    long = "averyveryverylongtextwithoutanyspace"
    body = {
        "name": long * 3,
        "over": {
            "/network": [{"name": "mlp", "features": [4] * 6}, {"name": "convnet"}],
            "/metadata/note": [long * 3],
            "/seed": [0, 1],
        },
        "job": {"priority": 9},
    }
    sweep = pages.http.post("/v1/sweeps", json=body).json()
    pages.http.post(f"/v1/sweeps/{sweep['id']}/cancel").raise_for_status()
    return str(sweep["id"])


@pytest.mark.parametrize(
    ("width", "scheme"), [(390, "light"), (1024, "light"), (1600, "light"), (390, "dark")]
)
def test_pages_fit_their_width_and_log_no_error(
    tabs: Tabs, pages: Pages, width: int, scheme: str
) -> None:
    long_name = "averyveryverylongnamewithoutanyspace" * 4
    _, warned = pages.running(name=long_name)
    finding = {"code": "at_chance", "message": long_name, "hint": long_name}
    pages.succeed(warned, health="warning", findings=[finding])
    job_id, claim = pages.running(name=long_name)
    pages.report(claim, {"loss": [(1, 2.0), (2, 1.0)], "firing_rate/layer1": [(2, 0.1)]})
    page = tabs.open(pages.url, viewport={"width": width, "height": 900}, color_scheme=scheme)
    backgrounds = set()
    for path in (
        *("/", f"/jobs/{job_id}", "/new", "/datasets", "/networks", "/system", "/sweeps"),
        *(f"/compare?jobs={job_id}", f"/sweeps/{swept(pages)}"),
    ):
        page.goto(pages.url + path)
        expect(page.get_by_role("main")).to_be_visible()
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(too_wide) <= 0, path
        assert page.evaluate(NO_NAME) == [], path
        assert page.evaluate(CUT_OFF) == [], path
        backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 1
    channels = backgrounds.pop().removeprefix("rgb(").removesuffix(")").split(",")
    assert (max(map(int, channels)) < 64) == (scheme == "dark")
    pages.cancelled(claim)


def test_what_is_not_there_is_a_page_too(tabs: Tabs, pages: Pages) -> None:
    page = tabs.open(f"{pages.url}/jobs/job_nowhere")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
    page.get_by_role("link", name="To the list of jobs").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
    tabs.complaints[:] = [text for text in tabs.complaints if "status of 404" not in text]
