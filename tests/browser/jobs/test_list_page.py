"""The list of jobs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Route, expect

from tests.browser.service import Pages

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs


def test_a_new_job_appears_and_moves_without_reloading(tabs: Tabs, pages: Pages) -> None:
    page = tabs.open(pages.url)
    job_id, claim = pages.running(name="appears")
    row = page.locator(f"#{job_id}")
    expect(row).to_contain_text("running")
    pages.report(claim, {"val_accuracy": [(40, 0.875)]})
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


@pytest.mark.parametrize("width", [850, 1024, 1280, 1440, 1600, 1920])
def test_at_every_width_a_name_has_room_and_a_verdict_is_whole(
    width: int, tabs: Tabs, pages: Pages
) -> None:
    """Names had 84 pixels on screens of 1600 and more, and verdicts ended in dots on all."""
    job_id, claim = pages.running(name=f"as wide as {width}")
    pages.succeed(claim, lif_accuracy=1.0, verdict="measured")
    page = tabs.open(pages.url, viewport={"width": width, "height": 900})
    row = page.locator(f"#{job_id}")
    expect(row).to_contain_text("measured")
    assert row.locator(".lif").evaluate("cell => cell.scrollWidth <= cell.clientWidth")
    assert row.locator(".name").evaluate("cell => cell.clientWidth") >= 100


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


def several(pages: Pages, prefix: str, count: int) -> list[str]:
    """Jobs that ended, each better than the one before."""
    ids = []
    for number in range(count):
        job_id, claim = pages.running(name=f"{prefix} {number}")
        pages.report(claim, {"val_accuracy": [(10, 0.5 + number / 10)], "loss": [(10, 1.0)]})
        pages.succeed(claim)
        ids.append(job_id)
    return ids


def test_a_heading_sorts_and_the_order_stays_in_the_address(tabs: Tabs, pages: Pages) -> None:
    several(pages, "sorted", 3)
    page = tabs.open(f"{pages.url}/?q=sorted")
    names = page.locator("#jobs tbody .name")
    expect(names).to_have_text(["sorted 2", "sorted 1", "sorted 0"])
    page.get_by_role("link", name="Name").click()
    expect(names).to_have_text(["sorted 0", "sorted 1", "sorted 2"])
    page.get_by_role("link", name="Best val. acc.").click()
    page.wait_for_url("**/?q=sorted&sort=-best_accuracy")
    expect(names).to_have_text(["sorted 2", "sorted 1", "sorted 0"])
    expect(page.get_by_role("columnheader", name="Best val. acc.")).to_have_attribute(
        "aria-sort", "descending"
    )
    page.get_by_label("Search").fill("sorted 1")
    page.wait_for_url(re.compile(r"q=sorted\+1"))
    assert "sort=-best_accuracy" in page.url
    expect(names).to_have_text(["sorted 1"])
    page.go_back()
    page.wait_for_url("**/?q=sorted&sort=-best_accuracy")
    expect(names).to_have_text(["sorted 2", "sorted 1", "sorted 0"])  # loaded, before it goes on
    page.go_back()
    page.wait_for_url("**/?q=sorted&sort=name")
    expect(names).to_have_text(["sorted 0", "sorted 1", "sorted 2"])


def test_keys_move_select_compare_and_explain_themselves(tabs: Tabs, pages: Pages) -> None:
    ids = several(pages, "keyed", 3)
    page = tabs.open(f"{pages.url}/?q=keyed")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("j")  # not while the dialog is open
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="keyed 2")).to_be_focused()
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.get_by_role("link", name="keyed 1")).to_be_focused()
    page.keyboard.press("x")
    expect(page.locator("#selection-said")).to_have_text("2 selected")
    page.keyboard.press("/")
    expect(page.get_by_label("Search")).to_be_focused()
    page.keyboard.type("keyed 0")  # typed, no commands
    expect(page.locator("#jobs tbody tr")).to_have_count(1)
    expect(page.locator("#selection-said")).to_have_text("2 selected, 2 of them not on this page")
    page.get_by_role("link", name="keyed 0").focus()
    page.keyboard.press("c")
    page.wait_for_url(f"**/compare?jobs={ids[2]},{ids[1]}")
    page.go_back()
    page.locator(f"#{ids[0]} .name a").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/jobs/{ids[0]}")


def test_many_are_cancelled_at_once_after_a_question_and_failures_are_told(
    tabs: Tabs, pages: Pages
) -> None:
    (ended,) = several(pages, "bulk", 1)
    waiting = [pages.submit(name=f"bulk waits {number}") for number in range(3)]
    page = tabs.open(f"{pages.url}/?q=bulk")
    page.get_by_label("Select all jobs on this page").check()
    expect(page.locator("#selection-said")).to_have_text("4 selected")
    page.get_by_role("button", name="Cancel …").click()
    question = page.get_by_role("dialog", name="Cancel 3 jobs?")
    expect(question).to_contain_text("1 job of the selection ended already")
    question.get_by_role("button", name="Keep them").click()
    assert {pages.job(job_id)["status"] for job_id in waiting} == {"queued"}
    refused = f"**/v1/jobs/{waiting[1]}/cancel"
    page.route(
        refused, lambda route: route.fulfill(status=409, json={"detail": "it does not want to"})
    )
    page.get_by_role("button", name="Cancel …").click()
    question.get_by_role("button", name="Cancel 3 jobs").click()
    told = page.get_by_role("dialog", name="2 of 3 jobs cancelled, 1 not")
    expect(told).to_contain_text("bulk waits 1: it does not want to")
    told.get_by_role("button", name="Close").click()
    expect(page.locator(f"#{waiting[0]}")).to_contain_text("cancelled")
    expect(page.locator(f"#{waiting[1]}")).to_contain_text("queued")
    expect(page.locator("#selection-said")).to_have_text("2 selected")
    tabs.complaints[:] = [text for text in tabs.complaints if "status of 409" not in text]
    page.unroute(refused)
    page.get_by_role("button", name="Cancel …").click()
    page.get_by_role("button", name="Cancel 1 job").click()
    expect(page.locator(f"#{waiting[1]}")).to_contain_text("cancelled")
    assert pages.job(ended)["status"] == "succeeded"


def test_a_job_that_is_deleted_vanishes_from_open_pages(tabs: Tabs, pages: Pages) -> None:
    ids = several(pages, "vanishes", 2)
    page = tabs.open(f"{pages.url}/?q=vanishes")
    page.locator(f"#{ids[0]} input").check()
    expect(page.locator("#jobs tbody tr")).to_have_count(2)
    pages.http.delete(f"/v1/jobs/{ids[0]}").raise_for_status()
    expect(page.locator("#jobs tbody tr")).to_have_count(1)
    expect(page.locator("#selection")).to_be_hidden()


def test_a_page_whose_connection_was_cut_says_so_and_misses_nothing(
    tabs: Tabs, pages: Pages
) -> None:
    ids = several(pages, "severed", 2)
    page = tabs.open(f"{pages.url}/?q=severed")
    expect(page.locator("#jobs tbody tr")).to_have_count(2)
    pages.kill()
    expect(page.locator("#connection")).to_contain_text("may be out of date")
    pages.start()
    pages.http.delete(f"/v1/jobs/{ids[0]}").raise_for_status()
    expect(page.locator("#connection")).to_be_hidden()
    expect(page.locator("#jobs tbody tr")).to_have_count(1)
    tabs.complaints[:] = [text for text in tabs.complaints if "ERR_" not in text]


def test_a_filter_that_was_let_go_of_does_not_come_back_with_the_next_search(
    tabs: Tabs, pages: Pages
) -> None:
    alone = pages.submit(name="alone", method={"name": "bptt"})
    body = {"job": {"dataset": "digits", "method": {"name": "bptt"}}, "over": {"/seed": [0, 1]}}
    answer = pages.http.post("/v1/sweeps", json=body)
    sweep = answer.raise_for_status().json()["id"]
    pages.http.post(f"/v1/sweeps/{sweep}/cancel").raise_for_status()
    pages.http.post(f"/v1/jobs/{alone}/cancel").raise_for_status()
    page = tabs.open(f"{pages.url}/?status=cancelled&sweep={sweep}")
    expect(page.locator("#jobs tbody tr")).to_have_count(2)
    page.get_by_role("link", name=f"sweep = {sweep}").click()
    expect(page.get_by_text("alone")).to_be_visible()
    page.get_by_label("Method").select_option("bptt")
    page.wait_for_url("**/?method=bptt&status=cancelled")
    expect(page.get_by_text("alone")).to_be_visible()


def test_links_of_the_list_keep_the_page_the_focus_and_what_is_selected(
    tabs: Tabs, pages: Pages
) -> None:
    ids = several(pages, "kept", 2)
    page = tabs.open(f"{pages.url}/?q=kept")
    page.evaluate("window.isTheSamePage = true")
    page.locator(f"#{ids[0]} input").check()
    page.get_by_role("link", name="Name").press("Enter")
    page.wait_for_url("**/?q=kept&sort=name")
    expect(page.locator("#jobs tbody .name")).to_have_text(["kept 0", "kept 1"])
    expect(page.get_by_role("link", name="Name")).to_be_focused()
    expect(page.locator(f"#{ids[0]} input")).to_be_checked()
    assert page.evaluate("window.isTheSamePage")
    with page.context.expect_page() as other:  # opened beside this one
        page.get_by_role("link", name="Name").click(modifiers=["ControlOrMeta"])
    expect(other.value.locator("#jobs tbody .name")).to_have_text(["kept 1", "kept 0"])
    expect(page.locator("#jobs tbody .name")).to_have_text(["kept 0", "kept 1"])


def test_the_answer_to_what_was_asked_last_is_shown_whichever_arrives_last(
    tabs: Tabs, pages: Pages
) -> None:
    several(pages, "late", 3)
    page = tabs.open(f"{pages.url}/?q=late")
    held: list[Route] = []
    page.route("**/?q=late+0", lambda route: held.append(route))
    with page.expect_request("**/?q=late+0"):
        page.get_by_label("Search").fill("late 0")
    page.get_by_label("Search").fill("late 1")
    page.wait_for_url("**/?q=late+1")
    expect(page.locator("#jobs tbody .name")).to_have_text(["late 1"])
    with page.expect_response("**/?q=late+0"):
        held[0].continue_()
    expect(page.locator("#jobs tbody .name")).to_have_text(["late 1"])
    assert page.url.endswith("/?q=late+1")
