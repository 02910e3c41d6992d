"""From the form to a verified file, in a browser, with a real training."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import safetensors
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect

from tests.browser.service import WholeService
from tests.browser.test_accessibility import violations
from tests.waiting import until

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs

ENDED = re.compile("succeeded|failed|cancelled")


def status(page: Page, words: str | re.Pattern[str]) -> None:
    expect(page.locator("#status")).to_have_text(words)


def last_step(page: Page) -> int:
    """The newest step that the loss chart shows."""
    value = page.locator(".chart").first.locator(".u-legend .u-value").first
    return int(value.inner_text()) if value.count() else 0


def checkpoint(page: Page) -> int:
    """The step of the checkpoint that answered."""
    said = page.locator("#said .source").inner_text()
    found = re.fullmatch(r"checkpoint of step ([\d,]+) on the server", said)
    assert found, said
    return int(found[1].replace(",", ""))


def draw_a_one(page: Page) -> None:
    """One stroke from top to bottom."""
    pad = page.get_by_label("Draw here, or drop an image")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2
    page.mouse.move(middle, box["y"] + 0.15 * box["height"])
    page.mouse.down()
    page.mouse.move(middle, box["y"] + 0.85 * box["height"], steps=5)
    page.mouse.up()


def drop_an_image(page: Page) -> None:
    """A ring, which is a zero."""
    ring = Image.new("L", (64, 64))
    ImageDraw.Draw(ring).ellipse((14, 4, 50, 60), outline=255, width=9)
    file = io.BytesIO()
    ring.save(file, "PNG")
    transfer = page.evaluate_handle(
        """(bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "0.png", { type: "image/png" }));
            return transfer;
        }""",
        [*file.getvalue()],
    )
    page.dispatch_event("#pad", "drop", {"dataTransfer": transfer})


def test_a_job_from_the_form_to_a_verified_network(
    tabs: Tabs, service: WholeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tabs.open(f"{service.url}/new")
    page.get_by_label("Name", exact=True).fill("from the form")
    page.locator("#field-network-channels-convnet").fill("8, 16")
    page.get_by_label("Epochs", exact=True).fill("8")
    page.get_by_role("button", name="Submit job").click()
    page.wait_for_url("**/jobs/job_*")
    expect(page.get_by_role("heading", level=1)).to_have_text("from the form")

    first = until(lambda: last_step(page))
    until(lambda: last_step(page) > first or page.get_by_text("succeeded").count())
    status(page, "succeeded")

    expect(page.locator("#certificate")).to_contain_text("Verdict: measured")
    expect(page.locator("[data-value=best_accuracy]")).to_have_text(re.compile(r"9\d|100"))
    total = service.job(page.url.rpartition("/")[2])["progress"]["steps_total"]
    until(lambda: last_step(page) == total)
    expect(page.get_by_role("img", name=re.compile("^Heat map of layers"))).to_be_visible()
    expect(page.locator("#network")).to_contain_text("pJ a multiply-add")
    page.get_by_text("Layer by layer").click()
    expect(page.get_by_role("region", name="Checks of each layer")).to_contain_text("layer2")

    draw_a_one(page)
    expect(page.locator("#said")).to_contain_text("after 6 of 6 time steps")
    expect(page.locator("#said strong")).to_have_text("1")
    drop_an_image(page)
    expect(page.locator("#said strong")).not_to_have_text("1")
    expect(page.locator("#said")).to_contain_text("after 6 of 6 time steps")
    page.get_by_role("button", name="The next sample").click()
    expect(page.locator("#said")).to_contain_text("it is")
    page.get_by_role("slider", name="Time step").fill("2")
    expect(page.locator("#said")).to_contain_text("after 2 of 6 time steps")
    layers = page.get_by_role("img", name=re.compile("^Spikes of layer1: .* at time step 2"))
    expect(layers).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert violations(page) == []

    row = page.get_by_role("row").filter(has_text="lif.safetensors")
    with page.expect_download() as downloading:
        row.get_by_role("link").click()
    path = downloading.value.path()
    assert downloading.value.suggested_filename == "lif.safetensors"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == row.locator(".hash").inner_text()
    with safetensors.safe_open(path, framework="numpy") as network:
        assert list(network.keys())
    lines = page.get_by_label("Python that runs the network").inner_text()
    shutil.copy(path, tmp_path / "lif.safetensors")
    monkeypatch.chdir(tmp_path)
    run: dict[str, Any] = {}
    exec(lines, run)
    assert run["scores"].shape == (1, 10)


def test_a_running_job_is_paused_resumed_and_cancelled(tabs: Tabs, service: WholeService) -> None:
    job_id = service.submit(name="endless", epochs=2000, network={"name": "convnet"})
    page = tabs.open(f"{service.url}/jobs/{job_id}")
    page.on("dialog", lambda dialog: dialog.accept())
    status(page, "running")
    page.get_by_role("button", name="The next sample").click()
    expect(page.locator("#said")).to_contain_text("after 6 of 6 time steps")
    step = checkpoint(page)
    page.get_by_role(
        "button", name=re.compile("^Run the checkpoint of step ")
    ).click()  # a newer one
    until(lambda: page.wait_for_timeout(50) or checkpoint(page) > step)
    page.get_by_role("button", name="Pause").click()
    status(page, "paused")
    expect(page.locator("#predict-of")).to_contain_text(
        re.compile(r"newest checkpoint, of step \d")
    )
    page.get_by_role("slider", name="Time step").fill("2")
    spikes = page.get_by_role("img", name=re.compile("^Spikes of layer1: .* at time step 2"))
    expect(spikes).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    status(page, re.compile("queued|starting|running"))
    page.get_by_role("button", name="Cancel").click()
    status(page, "cancelled")
    page.reload()
    page.get_by_role("button", name="The next sample").click()
    expect(page.locator("#said .source")).to_contain_text("checkpoint of step")
    assert service.job(job_id)["status"] == "cancelled"
    expect(page.locator("#timeline")).to_contain_text("paused")
    page.get_by_role("button", name="Delete").click()
    page.wait_for_url(f"{service.url}/")
    assert service.http.get(f"/v1/jobs/{job_id}").status_code == 404
    # What the page had asked for in the same moment is not there any more.
    tabs.complaints[:] = [text for text in tabs.complaints if f"{job_id}/vitals" not in text]
