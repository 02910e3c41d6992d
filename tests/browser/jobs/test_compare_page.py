"""Jobs side by side."""

from __future__ import annotations

import csv
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.service import Pages

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs


def test_jobs_are_selected_compared_and_taken_along_as_csv_and_figure(
    tabs: Tabs, pages: Pages, tmp_path: Path
) -> None:
    for name, steps, accuracy in (("side a", 4, 0.75), ("side b", 8, 0.5)):
        _, claim = pages.running(name=name, timesteps=steps)
        curve = [(step, accuracy * step / 100) for step in range(1, 101)]
        pages.report(claim, {"val_accuracy": curve, "val_loss": [(50, 1.0), (100, 0.5)]})
        pages.succeed(claim)
    page = tabs.open(f"{pages.url}/?q=side")
    for name in ("side a", "side b"):
        page.get_by_label(f"Select {name}").check()
    page.get_by_role("link", name="Compare").click()
    table = page.get_by_role("table")
    expect(
        table.get_by_role("row", name=re.compile("Accuracy, validation .best epoch"))
    ).to_contain_text("75.00 % best")
    expect(table.get_by_role("row", name=re.compile("timesteps"))).to_have_text(
        re.compile(r"4\s*8")
    )
    with page.expect_download() as taken:
        page.get_by_role("link", name="CSV").click()
    taken.value.save_as(tmp_path / "comparison.csv")
    rows = list(csv.DictReader((tmp_path / "comparison.csv").read_text().splitlines()))
    assert [(row["name"], row["/timesteps"]) for row in rows] == [("side a", "4"), ("side b", "8")]
    with page.expect_download() as taken:
        page.get_by_role("link", name="Figure (SVG)").click()
    assert taken.value.suggested_filename == "comparison.svg"
    taken.value.save_as(tmp_path / "comparison.svg")
    root = ElementTree.parse(tmp_path / "comparison.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"

    figure = page.get_by_role("img", name=re.compile("^Accuracy, validation by step"))
    figure.scroll_into_view_if_needed()
    box = figure.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2)
    readout = page.locator("#readout")
    expect(readout).to_contain_text(re.compile(r"side a\s*\d\d\.\d %"))
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
    page.mouse.up()
    page.wait_for_url("**/compare?**from=**to=**")
    page.get_by_role("link", name="Show the whole").click()
    expect(page.get_by_role("link", name="Show the whole")).to_have_count(0)
    page.get_by_label("Leave side a out").click()
    expect(table.get_by_role("columnheader")).to_have_count(1)


def test_a_comparison_is_live_while_its_jobs_run(tabs: Tabs, pages: Pages) -> None:
    ended, claim = pages.running(name="over")
    pages.report(claim, {"val_accuracy": [(10, 0.25)]})
    pages.succeed(claim)
    job_id, claim = pages.running(name="goes on")
    page = tabs.open(f"{pages.url}/compare?jobs={ended},{job_id}")
    row = page.get_by_role("row", name=re.compile("Accuracy, validation .best epoch"))
    expect(row).to_contain_text("25.00 %")
    pages.report(claim, {"val_accuracy": [(10, 0.5), (20, 0.625)]})
    expect(row).to_contain_text("62.50 % best")
    pages.cancelled(claim)
    expect(page.locator(f"#{job_id}")).to_contain_text("cancelled")
