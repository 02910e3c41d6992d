"""The page of one job, fed step by step."""

from __future__ import annotations

import json
import math
import re
import subprocess
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Locator, Page, Response, Route, expect

from api.store.jobs import lifecycle
from api.store.runs import checkpoints, logs
from api.store.tables.base import Blob
from tests.browser.service import Pages
from tests.browser.test_accessibility import violations
from tests.waiting import until

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs


def test_values_grow_while_one_looks_and_the_stream_ends_with_the_job(
    tabs: Tabs, pages: Pages
) -> None:
    job_id, claim = pages.running(name="live", epochs=10)
    page = tabs.open(f"{pages.url}/jobs/{job_id}")
    expect(page.locator("#status")).to_have_text("running")
    pages.report(claim, {"loss": [(1, 2.5), (2, 2.25)], "val_accuracy": [(2, 0.5)]})
    expect(page.locator("[data-value=loss]")).to_have_text("2.25")
    expect(page.locator("[data-value=best_accuracy]")).to_have_text("50.00 %")
    expect(page.locator("#steps")).to_have_text("step 2 of 100 · epoch 0.20 of 10")
    expect(page.get_by_role("img", name=re.compile("^Loss.*2.25"))).to_be_visible()
    pages.report(claim, {"loss": [(3, 1.125)]})
    expect(page.get_by_role("img", name=re.compile("^Loss.*1.125"))).to_be_visible()
    pages.succeed(claim)
    expect(page.locator("#status")).to_have_text("succeeded")
    expect(page.get_by_role("button", name="Delete")).to_be_visible()
    until(lambda: "\nsaf_streams_watched 0.0\n" in pages.http.get("/metrics").text)


def test_a_worker_that_is_not_heard_of_is_told_and_so_is_its_return(
    tabs: Tabs, pages: Pages
) -> None:
    job_id, claim = pages.running(name="cut off")
    page = tabs.open("about:blank")
    page.clock.install()
    page.goto(f"{pages.url}/jobs/{job_id}")
    silence = page.get_by_text("Nothing has been heard of its worker for")
    expect(page.locator("#reason")).to_contain_text("In training.")
    expect(silence).to_have_count(0)
    pages.renew(claim, lease_seconds=-1)
    page.clock.run_for(60_000)  # no message comes, so the page asks by itself
    expect(silence).to_be_visible()
    pages.renew(claim, lease_seconds=600)
    page.clock.run_for(60_000)
    expect(silence).to_have_count(0)
    pages.cancelled(claim)


def test_a_long_history_arrives_thinned_out_and_in_detail_where_one_zooms(
    tabs: Tabs, pages: Pages
) -> None:
    job_id, claim = pages.running(steps_total=30_000, name="long")
    loss = [(step, 1 / step if step != 12_345 else 50.0) for step in range(1, 30_001)]
    pages.report(claim, {"loss": loss})
    pages.cancelled(claim)
    page = tabs.open("about:blank")
    answers: list[tuple[str, list[list[float]]]] = []

    def keep(response: Response) -> None:
        if "/metrics?" in response.url:
            answers.append((response.url, response.json()["series"][0]["points"]))

    page.on("response", keep)
    page.goto(f"{pages.url}/jobs/{job_id}")
    until(lambda: page.wait_for_timeout(50) or answers)
    assert len(answers[0][1]) <= 600
    assert [12_345, 50.0] in answers[0][1]

    area = page.locator(".chart .u-over").first
    box = area.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.4 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], middle, steps=3)
    page.mouse.up()
    until(lambda: page.wait_for_timeout(50) or "from_step" in answers[-1][0])
    steps = [step for step, _ in answers[-1][1]]
    assert 10_000 < steps[0] < 13_500
    assert 16_500 < steps[-1] < 20_000
    asked = len(answers)
    page.get_by_role("button", name="Reset zoom").click()
    until(lambda: page.wait_for_timeout(50) or len(answers) > asked)
    assert "from_step" not in answers[-1][0]


def test_a_lost_connection_is_said_and_what_was_missed_is_caught_up(
    tabs: Tabs, pages: Pages
) -> None:
    job_id, claim = pages.running(name="cut off")
    page = tabs.open(f"{pages.url}/jobs/{job_id}")
    pages.report(claim, {"loss": [(1, 2.0)]})
    expect(page.locator("[data-value=loss]")).to_have_text("2")
    pages.kill()
    expect(page.get_by_text("Connection lost, trying again")).to_be_visible()
    pages.report(claim, {"loss": [(2, 1.5)]})
    pages.start()
    expect(page.get_by_text("Connection lost, trying again")).to_be_hidden()
    expect(page.locator("[data-value=loss]")).to_have_text("1.5")
    pages.cancelled(claim)
    expect(page.locator("#status")).to_have_text("cancelled")
    # The browser logs each connection that fails.
    tabs.complaints[:] = [text for text in tabs.complaints if "net::ERR_" not in text]


def test_a_stream_that_is_refused_is_asked_for_again(tabs: Tabs, pages: Pages) -> None:
    job_id, claim = pages.running(name="refused")
    page = tabs.open("about:blank")
    refusals: list[str] = []

    def refuse_once(route: Route) -> None:
        if refusals:
            route.continue_()
        else:
            refusals.append(route.request.url)
            route.fulfill(status=503, body="")

    page.route("**/events*", refuse_once)
    page.goto(f"{pages.url}/jobs/{job_id}")
    expect(page.get_by_text("Connection lost, trying again")).to_be_visible()
    expect(page.get_by_text("Connection lost, trying again")).to_be_hidden()
    pages.report(claim, {"loss": [(1, 0.5)]})
    expect(page.locator("[data-value=loss]")).to_have_text("0.5")
    pages.cancelled(claim)
    tabs.complaints[:] = [text for text in tabs.complaints if "status of 503" not in text]


def test_a_failed_job_says_why_and_what_to_change(tabs: Tabs, pages: Pages) -> None:
    job_id, claim = pages.running(name="bad luck")
    page = tabs.open(f"{pages.url}/jobs/{job_id}")
    with pages.database.writing() as session:
        lifecycle.fail(
            session, claim, code="diverged", message="the loss is NaN", hint="lower the rate"
        )
    expect(page.locator("#reason")).to_contain_text("diverged: the loss is NaN")
    expect(page.locator("#reason")).to_contain_text("lower the rate")
    page.get_by_role("button", name="Retry").click()
    page.wait_for_url(lambda url: job_id not in url)
    expect(page.locator("#facts")).to_contain_text(job_id)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#status")).to_have_text("cancelled")


def test_the_log_follows(tabs: Tabs, pages: Pages) -> None:
    job_id, claim = pages.running(name="talkative")
    page = tabs.open(f"{pages.url}/jobs/{job_id}")
    with pages.database.writing() as session:
        logs.append(session, job_id, 1, "first line\n<b>second</b> line\n")
    pages.report(claim, {"loss": [(1, 1.0)]})
    expect(page.locator("#log")).to_have_text("first line\n<b>second</b> line\n")
    pages.cancelled(claim)


def test_reading_works_without_javascript(tabs: Tabs, pages: Pages) -> None:
    _, claim = pages.running(name="quiet")
    pages.report(claim, {"loss": [(1, 0.75)], "val_accuracy": [(1, 0.5)]})
    page = tabs.open(f"{pages.url}/", java_script_enabled=False)
    expect(page.get_by_role("row").filter(has_text="quiet")).to_contain_text("50.00 %")
    page.get_by_role("link", name="quiet").click()
    expect(page.locator("[data-value=loss]")).to_have_text("0.75")
    expect(page.locator("#timeline")).to_contain_text("running")
    page.goto(f"{pages.url}/compare?jobs={claim.job_id}")
    expect(
        page.get_by_role("row").filter(has_text="Accuracy, validation (best epoch)")
    ).to_contain_text("50.00 %")
    expect(
        page.get_by_role("img", name=re.compile("^Accuracy, validation by step"))
    ).to_be_visible()
    page.goto(f"{pages.url}/system")
    expect(page.locator("#counts")).to_contain_text("running")
    pages.cancelled(claim)


def test_curves_are_smoothed_and_logarithmic_also_the_next_time(tabs: Tabs, pages: Pages) -> None:
    job_id, claim = pages.running(name="noisy")
    loss = [(step, 2.0 + (-1) ** step) for step in range(1, 41)]
    loss[19] = (20, math.nan)
    pages.report(claim, {"loss": loss, "memory_bytes": [(40, 2.0**28)]})
    page = tabs.open(f"{pages.url}/jobs/{job_id}")
    shown = page.locator(".chart").first.locator(".u-legend .u-series:not(.raw) .u-value").last
    expect(shown).to_have_text("3")
    expect(
        page.get_by_role("img", name=re.compile("^Loss.*1 values are no numbers"))
    ).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Memory.*256.0 MiB"))).to_be_visible()
    page.get_by_label("smoothing").fill("0.9")
    expect(shown).to_have_text(re.compile(r"^2\.0"))
    page.get_by_label("log scale").check()
    page.reload()
    expect(page.get_by_label("log scale")).to_be_checked()
    expect(page.locator("#smoothing-value")).to_have_text("0.9")
    expect(shown).to_have_text(re.compile(r"^2\.0"))
    pages.cancelled(claim)


def test_the_cursor_is_in_all_charts_at_once(tabs: Tabs, pages: Pages) -> None:
    job_id, claim = pages.running(name="pointed at")
    steps = range(1, 101)
    pages.report(claim, {"loss": [(s, 1 / s) for s in steps]})
    pages.report(claim, {"learning_rate": [(s, 0.5) for s in steps]})
    pages.cancelled(claim)
    page = tabs.open(f"{pages.url}/jobs/{job_id}")
    charts = page.locator(".chart:has(.u-over)")
    expect(charts).to_have_count(2)
    step = ".u-legend .u-series:first-child .u-value"
    expect(charts.last.locator(step)).to_have_text("100")
    charts.first.locator(".u-over").hover()
    pointed = charts.first.locator(step).inner_text()
    assert 40 <= int(pointed) <= 60
    expect(charts.last.locator(step)).to_have_text(pointed)


def test_a_connection_that_is_cut_without_a_word_is_noticed(tabs: Tabs, pages: Pages) -> None:
    job_id, claim = pages.running(name="silence")
    page = tabs.open("about:blank")
    page.clock.install()
    page.goto(f"{pages.url}/jobs/{job_id}")
    expect(page.locator("#status")).to_have_text("running")
    pages.report(claim, {"loss": [(1, 0.5)]})
    page.clock.run_for(2_000)
    expect(page.locator("[data-value=loss]")).to_have_text("0.5")
    page.route("**/events*", lambda route: None)  # connects, and never answers
    for _ in range(2):
        with page.expect_request("**/events*"):
            page.clock.run_for(41_000)
        expect(page.locator("#connection")).to_contain_text("Nothing heard from the server")
    page.unroute("**/events*")
    page.clock.run_for(41_000)
    expect(page.locator("#connection")).to_be_hidden()
    pages.cancelled(claim)


def test_a_new_attempt_is_marked_where_it_began(tabs: Tabs, pages: Pages) -> None:
    job_id, claim = pages.running(name="twice")
    pages.report(claim, {"loss": [(1, 2.0), (2, 1.5)]})
    with pages.database.writing() as session:
        lifecycle.pause(session, job_id)
        lifecycle.stopped(session, claim)
        lifecycle.resume(session, job_id)
        again = lifecycle.claim(session, worker_id="wrk_2", device="cpu", lease_seconds=600)
        assert again is not None
        environment = {"python": "3.11", "packages": {"torch": "2.13"}}
        lifecycle.running(session, again, step=2, steps_total=100, environment=environment)
    pages.report(again, {"loss": [(3, 1.25)]})
    found = pages.http.get(f"/v1/jobs/{job_id}/metrics").json()
    assert found["attempts"] == [[1, 1], [2, 3]]
    page = tabs.open(f"{pages.url}/jobs/{job_id}")
    attempts = page.locator("#attempts li")
    expect(attempts).to_have_count(2)
    expect(attempts.first).to_contain_text("paused after")
    expect(attempts.last).to_contain_text("under way")
    expect(
        page.get_by_role("img", name=re.compile("^Loss.*attempt 2 begins at step 3$"))
    ).to_be_visible()
    page.get_by_text("Environment", exact=True).click()
    expect(page.locator("#environment")).to_contain_text("2.13")
    pages.cancelled(again)


def test_spike_statistics_appear_while_one_looks_and_each_measurement_can_be_chosen(
    tabs: Tabs, pages: Pages
) -> None:
    job_id, claim = pages.running(name="alive")
    page = tabs.open(f"{pages.url}/jobs/{job_id}")
    expect(page.locator("#spike-statistics")).to_be_hidden()
    pages.look(claim, 1, 0.25)
    pages.look(claim, 5, 0.75)
    pages.report(claim, {"loss": [(5, 1.0)]})
    heat = page.get_by_role("img", name=re.compile("^Heat map.*Step 5, firing rate: layer1 75.0 %"))
    expect(heat).to_be_visible()
    expect(page.locator("#spike-statistics-table")).to_contain_text("75.00 %")
    expect(page.locator("#membranes rect.above")).to_have_count(20)
    heat.press("ArrowLeft")
    expect(page.locator("#heat-at")).to_contain_text("Step 1, firing rate: layer1 25.0 %")
    page.get_by_label("show").select_option("dead neurons")
    expect(page.locator("#heat-at")).to_contain_text("dead: layer1 50.0 %, layer2 50.0 %")
    pages.cancelled(claim)


def test_spike_statistics_that_come_while_the_page_loads_are_in_its_table_too(
    tabs: Tabs, pages: Pages
) -> None:
    job_id, claim = pages.running(name="between")
    page = tabs.open("about:blank")

    def look_first(route: Route) -> None:
        pages.look(claim, 3, 0.75)
        route.continue_()

    page.route("**/vitals?*", look_first, times=1)
    page.goto(f"{pages.url}/jobs/{job_id}")
    expect(page.locator("#spike-statistics-table")).to_contain_text("After step 3")
    pages.cancelled(claim)


def test_lines_of_the_whole_log_are_found(tabs: Tabs, pages: Pages) -> None:
    job_id, claim = pages.running(name="wordy")
    text = "".join(f"line {number}\n" for number in range(900)) + "a Needle\n"
    with pages.database.writing() as session:
        logs.append(session, job_id, 1, "the first needle\n" + text)
    page = tabs.open(f"{pages.url}/jobs/{job_id}")
    page.get_by_placeholder("Filter lines").fill("needle")
    expect(page.locator("#log-found")).to_have_text("     1  the first needle\n   902  a Needle\n")
    expect(page.locator("#log")).to_be_hidden()
    page.get_by_placeholder("Filter lines").fill("")
    expect(page.locator("#log")).to_contain_text("line 899")
    pages.cancelled(claim)


def copy(page: Page, button: Locator) -> None:
    """Press it and see, however late, that it said so, which it does for a moment only."""
    button.evaluate(
        """(button) => {
            window.copied = new Promise((done) => {
                const look = () => button.textContent === "Copied" && done();
                new MutationObserver(look).observe(button, { childList: true, subtree: true });
            });
        }"""
    )
    button.click()
    page.evaluate("() => window.copied")


def test_the_specification_can_be_copied_in_three_languages(tabs: Tabs, pages: Pages) -> None:
    job_id, claim = pages.running(name="it's mine", epochs=3)
    page = tabs.open(
        f"{pages.url}/jobs/{job_id}", permissions=["clipboard-read", "clipboard-write"]
    )
    page.get_by_text("Specification", exact=True).click()
    page.get_by_text("curl", exact=True).click()
    copy(page, page.locator("[data-copy=again-curl]"))
    command = page.evaluate("navigator.clipboard.readText()")
    pages.cancelled(claim)
    answer = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    again = json.loads(answer.stdout)
    assert again["specification"] == pages.job(job_id)["specification"]
    pages.http.post(f"/v1/jobs/{again['id']}/cancel")
    page.get_by_text("Python", exact=True).click()
    copy(page, page.locator("[data-copy=again-python]"))
    lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert lines.pop().strip() == 'job = client.wait(job["id"])'  # nobody trains here
    found: dict[str, Any] = {}
    exec("\n".join(lines), found)
    assert found["job"]["specification"] == pages.job(job_id)["specification"]
    pages.http.post(f"/v1/jobs/{found['job']['id']}/cancel")


def test_a_finished_job_is_trained_further_and_lends_its_network(tabs: Tabs, pages: Pages) -> None:
    job_id, claim = pages.running(name="source", epochs=10)
    pages.report(claim, {"loss": [(100, 0.5)]})
    with pages.database.writing() as session:
        session.add(Blob(sha256="a" * 64, bytes=1, created_at=1.0))
        session.flush()
        checkpoints.add(session, claim, step=100, sha256="a" * 64)
    page = tabs.open(f"{pages.url}/jobs/{job_id}")
    expect(page.get_by_role("button", name="Train for more epochs")).to_have_count(0)
    pages.succeed(claim)
    more = page.get_by_label("How many more epochs")
    expect(more).to_have_value("10")
    more.fill("5")
    page.get_by_role("button", name="Train for more epochs").click()
    expect(page.locator("#steps")).to_have_text("step 100 of 150 · epoch 10.00 of 15")
    expect(page.get_by_role("link", name=job_id)).to_be_visible()
    further = pages.take(150)
    assert pages.job(further.job_id)["continues"] == job_id
    pages.cancelled(further)
    page.goto(f"{pages.url}/jobs/{job_id}")
    page.get_by_role("link", name="Start from this network").click()
    expect(page.get_by_label("Job to start from")).to_have_value(job_id)
    page.get_by_label("Layers that stay as they are there").fill("layer1")
    page.get_by_role("button", name="Submit job").click()
    expect(page.locator("#status")).to_have_text("queued")
    started = pages.take()
    init = pages.job(started.job_id)["specification"]["init"]
    assert init == {"job": job_id, "freeze": ["layer1"]}
    pages.cancelled(started)


def test_findings_stand_first_as_soon_as_the_job_has_ended(tabs: Tabs, pages: Pages) -> None:
    job_id, claim = pages.running(name="worthless")
    page = tabs.open(f"{pages.url}/jobs/{job_id}")
    expect(page.locator("#status")).to_have_text("running")
    pages.report(claim, {"val_accuracy": [(10, 0.25)]})
    finding = {"code": "at_chance", "message": "no better than chance", "hint": "lower the rate"}
    pages.succeed(
        claim, health="warning", findings=[finding], lif_accuracy=0.25, verdict="measured"
    )
    expect(page.locator("#status")).to_have_text("succeeded, with warnings")
    expect(page.locator("#reason .finding")).to_contain_text("No better than chance.")
    expect(page.locator("#reason .finding")).to_contain_text("What to change: lower the rate.")
    told = page.locator("#reason").inner_text()
    assert told.index("No better than chance") < told.index("25.00 %")
    page.goto(f"{pages.url}/?q=worthless")
    row = page.get_by_role("row").filter(has_text="succeeded, with warnings")
    expect(row).to_have_count(1)
    page.locator("#with-warnings").click()
    page.wait_for_url("**health=warning**")
    expect(page.locator("#jobs tbody tr")).to_have_count(1)
    assert violations(page) == []
