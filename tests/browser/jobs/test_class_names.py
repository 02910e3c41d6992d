"""Long names of classes leave the numbers beside them in sight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.browser.service import Pages

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs

NAME = "a class that is called so for a reason which nobody remembers " * 2
PUT = """name => {
    const row = `<tr><th scope="row">${name}</th><td class="number">1</td></tr>`;
    const scroll = kind => `<div class="scroll"><table class="small ${kind}">${row}</table></div>`;
    document.getElementById("classes").innerHTML =
        `<section class="card">${scroll("")}${scroll("confusion")}</section>`;
    return [...document.querySelectorAll("#classes .scroll")]
        .map(each => each.scrollWidth - each.clientWidth);
}"""


def test_long_names_of_classes_hide_no_numbers(tabs: Tabs, pages: Pages) -> None:
    job_id, claim = pages.running(name="named")
    pages.succeed(claim)
    page = tabs.open(f"{pages.url}/jobs/{job_id}")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(PUT, NAME) == [0, 0]
