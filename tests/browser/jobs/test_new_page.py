"""The form for a new job."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import Page, expect

from tests.browser.service import Pages

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs


def problem(page: Page, label: str) -> str:
    """The id of the paragraph beside a field that says what is wrong with it."""
    field = page.get_by_label(label, exact=True).and_(page.locator(":visible"))
    return f"#{field.get_attribute('id')}-problem"


def ignore_refusals(tabs: Tabs) -> None:
    """Chromium logs each answer that is a refusal."""
    tabs.complaints[:] = [text for text in tabs.complaints if "status of 422" not in text]


def test_a_bad_value_shows_its_error_beside_the_field(tabs: Tabs, pages: Pages) -> None:
    page = tabs.open(f"{pages.url}/new")
    decay = page.get_by_label("Decay λ", exact=True).and_(page.locator(":visible"))
    decay.fill("2")
    expect(page.locator(problem(page, "Decay λ"))).to_contain_text("less than or equal to 1")
    expect(decay).to_have_attribute("aria-invalid", "true")
    decay.fill("0.9")
    expect(page.locator(problem(page, "Decay λ"))).to_be_hidden()
    page.get_by_label("Pooling").and_(page.locator(":visible")).select_option("max")
    expect(page.locator(problem(page, "Pooling"))).to_contain_text("average")
    page.get_by_label("Pooling").and_(page.locator(":visible")).select_option("average")
    page.locator("#field-network-channels-convnet").fill("8, many")
    expect(page.locator(problem(page, "Channels of each layer"))).to_contain_text("integer")
    page.get_by_label("Metadata").fill("a key with spaces = 1")
    page.get_by_role("button", name="Submit job").click()
    expect(page.locator(problem(page, "Metadata"))).to_be_visible()
    assert page.url.endswith("/new")
    ignore_refusals(tabs)


def test_what_the_job_needs_follows_what_one_types(tabs: Tabs, pages: Pages) -> None:
    page = tabs.open(f"{pages.url}/new")
    needs = page.locator("#needs")
    expect(needs).to_contain_text("58,474")
    page.locator("#field-network-channels-convnet").fill("4")
    expect(needs).not_to_contain_text("58,474")
    expect(needs).to_contain_text(re.compile(r"\d+ ?(MiB|KiB)"))
    page.get_by_label("Batch size").fill("5000")
    expect(page.locator("#warnings")).to_contain_text("Batch size: the data set has")
    page.get_by_label("Network", exact=True).select_option("layers")
    page.get_by_label("Layers (JSON)").fill('[{"kind": "linear", "features": 10}]')
    expect(needs).to_contain_text("770")  # 64 · 10, gains, biases; readout 10 · 10 + 10


def test_fields_belong_to_the_chosen_network_and_method(tabs: Tabs, pages: Pages) -> None:
    page = tabs.open(f"{pages.url}/new")
    page.get_by_label("Network", exact=True).select_option("vgg11")
    expect(page.get_by_label("Width factor").and_(page.locator(":visible"))).to_have_count(1)
    expect(page.locator("#field-network-channels-convnet")).to_be_hidden()
    page.get_by_label("Method", exact=True).select_option("bptt")
    expect(page.get_by_label("Trace on bias and first layer")).to_have_count(4)
    visible = page.get_by_label("Trace on bias and first layer").and_(page.locator(":visible"))
    expect(visible).to_have_count(0)
    # 8 × 8 digits are too small for this network: said at the network.
    expect(page.locator(problem(page, "Network"))).to_contain_text("16")
    ignore_refusals(tabs)


def test_a_job_is_submitted_again_with_changes(tabs: Tabs, pages: Pages) -> None:
    job_id, claim = pages.running(
        name="original", network={"name": "convnet", "channels": [4, 8]}, metadata={"team": "a=b"}
    )
    pages.cancelled(claim)
    page = tabs.open(f"{pages.url}/jobs/{job_id}")
    page.get_by_role("link", name="Submit again with changes").click()
    expect(page.locator("#field-network-channels-convnet")).to_have_value("4, 8")
    page.get_by_label("Seed", exact=True).fill("7")
    page.get_by_role("button", name="Submit job").click()
    page.wait_for_url(lambda url: "/jobs/job_" in url and job_id not in url)
    specification = pages.job(page.url.rpartition("/")[2])["specification"]
    assert specification == {**pages.job(job_id)["specification"], "seed": 7}
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#status")).to_have_text("cancelled")


def test_the_form_says_how_memory_grows_and_whether_the_time_is_known(
    tabs: Tabs, pages: Pages
) -> None:
    page = tabs.open(f"{pages.url}/new")
    page.get_by_label("Batch size").fill("128")
    chart = page.locator("#memory svg")
    expect(chart).to_have_attribute("aria-label", re.compile("at 6 time steps: .*BPTT .*MiB"))
    expect(chart.locator("polyline")).to_have_count(3)  # SAF-E and SAF-F need the same
    page.get_by_label("Time steps T").fill("12")
    expect(chart).to_have_attribute("aria-label", re.compile("at 12 time steps"))
    page.get_by_label("Method", exact=True).select_option("spike-representation")
    expect(page.locator("#time")).to_have_text("no estimate yet")
    page.get_by_text("With all defaults").click()
    expect(page.locator("#resolved")).to_contain_text('"timesteps": 12')
    page.get_by_label("Time steps T").fill("-1")
    expect(page.locator("#memory")).to_be_hidden()
    ignore_refusals(tabs)


def test_a_preset_fills_the_form_with_the_published_setting(tabs: Tabs, pages: Pages) -> None:
    page = tabs.open(f"{pages.url}/new")
    page.get_by_role("link", name="As published, CIFAR-10: SAF-E").click()
    expect(page.get_by_label("Network", exact=True)).to_have_value("vgg11")
    expect(page.get_by_label("Method", exact=True)).to_have_value("saf-e")
    expect(page.get_by_label("Epochs", exact=True)).to_have_value("300")
    for change in ("crop", "flip", "cutout"):
        expect(page.get_by_label(change, exact=True)).to_be_checked()
    expect(page.locator(problem(page, "Data set"))).to_contain_text(
        "there is no data set 'cifar10'"
    )
    page.get_by_role("link", name="A quick look").click()
    expect(page.get_by_label("Epochs", exact=True)).to_have_value("")
    expect(page.get_by_label("Epochs", exact=True)).to_have_attribute(
        "placeholder", re.compile(r"auto: \d+")
    )
    expect(page.locator("#needs")).to_contain_text(re.compile(r"Parameters\s*[\d,]+"))
    ignore_refusals(tabs)


def test_an_empty_field_is_automatic_and_none_is_none(tabs: Tabs, pages: Pages) -> None:
    page = tabs.open(f"{pages.url}/new")
    epochs, norm = page.get_by_label("Epochs", exact=True), page.get_by_label("Largest norm")
    expect(epochs).to_have_attribute("placeholder", re.compile(r"auto: \d+"))
    page.get_by_label("Batch size").fill("32")
    norm.fill("none")
    page.get_by_label("Name", exact=True).fill("partly automatic")
    page.get_by_role("button", name="Submit job").click()
    page.wait_for_url("**/jobs/job_*")
    job_id = page.url.rpartition("/")[2]
    sent = pages.job(job_id)["specification"]
    assert (sent["batch_size"], sent["max_gradient_norm"]) == (32, None)
    assert set(sent["automatic"]) == {"/timesteps", "/validation_share", "/epochs", "/optimizer"}
    expect(page.locator("#facts")).to_contain_text(f"{sent['epochs']} (auto)")
    page.get_by_role("link", name="Submit again with changes").click()
    expect(epochs).to_have_value("")
    expect(page.get_by_label("Batch size")).to_have_value("32")
    expect(norm).to_have_value("none")
    expect(page.get_by_label("Optimizer", exact=True)).to_have_value("auto")
    epochs.fill("7")
    page.get_by_role("button", name="Submit job").click()
    page.wait_for_url(lambda url: "/jobs/job_" in url and job_id not in url)
    again = pages.job(page.url.rpartition("/")[2])["specification"]
    assert (again["epochs"], again["max_gradient_norm"]) == (7, None)
    assert set(again["automatic"]) == {"/timesteps", "/validation_share", "/optimizer"}
    for one in (job_id, page.url.rpartition("/")[2]):
        pages.http.post(f"/v1/jobs/{one}/cancel")


def test_values_to_vary_make_many_jobs(tabs: Tabs, pages: Pages) -> None:
    page = tabs.open(f"{pages.url}/new")
    vary = page.get_by_label("Values to vary")
    page.get_by_label("Name", exact=True).fill("varied")
    page.get_by_label("Priority").fill("9")
    vary.fill("method.name = saf-e, ottt-a\nneuron.decay = 0.5, 2")
    expect(page.locator(problem(page, "Decay λ"))).to_contain_text(
        "(with method = saf-e, decay = 2)"
    )
    vary.fill("method.name = saf-e, ottt-a\nseed")
    expect(page.locator("#over-problem")).to_contain_text("at least 1 item")
    vary.fill("seed = " + ", ".join(map(str, range(201))))
    expect(page.locator("#over-problem")).to_contain_text("at most 200 items")
    vary.fill("seed = 1, 2, 3\nepochs = " + ", ".join(map(str, range(1, 90))))
    expect(page.locator("#over-problem")).to_have_text("that makes 267 jobs, and 200 are the most")
    vary.fill('method.name = saf-e, ottt-a\naugment = [[], ["flip"]]\nseed = 0, 1, 2')
    expect(page.locator("#over-problem")).to_be_hidden()
    expect(page.locator("#needs")).to_contain_text("58,474")
    page.get_by_role("button", name="Submit 12 jobs").click()
    page.wait_for_url("**/sweeps/swp_*")
    expect(page.get_by_role("heading", level=1)).to_have_text("varied")
    expect(page.get_by_role("region", name="Jobs").get_by_role("row")).to_have_count(13)
    sweep = pages.http.get("/v1/sweeps").json()["data"][0]
    found = pages.http.get(sweep["urls"]["self"]).json()
    settings = [list(row["settings"].values()) for row in found["rows"]]
    assert settings[-1] == ["ottt-a", ["flip"], 2]
    pages.http.post(f"{sweep['urls']['self']}/cancel").raise_for_status()
    ignore_refusals(tabs)
