"""Uploading a data set."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from tests.api.datasets.asking import grid, interpreter
from tests.browser.service import Pages

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs


def images(folder: Path, name: str, samples: int = 40) -> Path:
    """A file with images of four classes."""
    file = folder / f"{name}.npz"
    x = np.random.default_rng(0).integers(0, 256, (samples, 1, 8, 8), dtype=np.uint8)
    y = np.arange(samples) % 4
    np.savez(file, x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])
    return file


def events(folder: Path, name: str) -> Path:
    """A file with a dot that is orange in the first step and blue in the second."""
    file = folder / f"{name}.npz"
    x = np.zeros((6, 2, 2, 6, 6), np.uint8)
    x[:, 0, 0, 2, 1] = x[:, 1, 1, 2, 4] = 1
    np.savez(file, x_train=x, y_train=np.arange(6) % 2, x_test=x[:2], y_test=[0, 1])
    return file


def upload(pages: Pages, file: Path) -> str:
    answer = pages.http.post("/v1/datasets", files={"file": (file.name, file.read_bytes())})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


COLOURS = """
async (strip) => {
  const box = strip.viewBox.baseVal;
  const image = new Image();
  image.src = strip.querySelector("image").getAttribute("href");
  await image.decode();
  const canvas = new OffscreenCanvas(box.width, box.height);
  const context = canvas.getContext("2d");
  context.drawImage(image, -box.x, -box.y);
  const { data } = context.getImageData(0, 0, box.width, box.height);
  const found = new Set();
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3]) found.add(data[i] > data[i + 2] ? "orange" : "blue");
  }
  return [...found].sort();
}
"""


def test_an_upload_becomes_a_data_set_to_train_on(tabs: Tabs, pages: Pages, tmp_path: Path) -> None:
    file = images(tmp_path, "squares")
    page = tabs.open(f"{pages.url}/datasets")
    page.get_by_label("File").set_input_files(file)
    page.get_by_label("Name").fill("squares")
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("squares is ready.")).to_be_visible()
    row = page.get_by_role("row").filter(has_text="squares")
    expect(row).to_contain_text("1 × 8 × 8")
    row.get_by_role("link", name="Train on it").click()
    expect(page.get_by_label("Data set")).to_have_value("squares")


def test_a_file_that_is_no_data_set_is_refused_with_the_reason(
    tabs: Tabs, pages: Pages, tmp_path: Path
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("these are no images")
    page = tabs.open(f"{pages.url}/datasets")
    page.get_by_label("File").set_input_files(file)
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("#problems")).to_be_visible()
    assert page.locator("#problems").inner_text().strip()
    tabs.complaints[:] = [text for text in tabs.complaints if "status of 4" not in text]


def test_a_data_set_shows_samples_of_each_class(tabs: Tabs, pages: Pages, tmp_path: Path) -> None:
    upload(pages, images(tmp_path, "shown"))
    page = tabs.open(f"{pages.url}/datasets", java_script_enabled=False)
    page.get_by_role("link", name="shown", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("shown")
    expect(page.get_by_role("img", name="Training samples of class")).to_have_count(4)
    expect(page.get_by_role("row").filter(has_text="3")).to_contain_text("10")
    expect(page.get_by_text("no run")).to_be_visible()
    page.goto(f"{pages.url}/datasets/digits")
    expect(
        page.get_by_text("1,437 to train, none of its own to validate, 360 to test")
    ).to_be_visible()
    expect(page.get_by_role("img", name="Training samples of class")).to_have_count(10)


def test_event_frames_are_shown_step_by_step(tabs: Tabs, pages: Pages, tmp_path: Path) -> None:
    page = tabs.open(f"{pages.url}/datasets/{upload(pages, events(tmp_path, 'dots'))}")
    strip = page.get_by_role("img", name="Training samples of class 1")
    assert strip.evaluate(COLOURS) == ["blue", "orange"]
    slider = page.get_by_role("slider", name="Time step")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#step-said")).to_have_text("step 1")
    assert strip.evaluate(COLOURS) == ["orange"]
    page.keyboard.press("ArrowRight")
    expect(page.locator("#step-said")).to_have_text("step 2")
    assert strip.evaluate(COLOURS) == ["blue"]
    page.get_by_role("button", name="Play").click()
    expect(page.locator("#step-said")).to_have_text("step 1")
    page.get_by_role("button", name="Stop").click()


def test_a_data_set_in_use_says_by_what_and_is_deleted_after(
    tabs: Tabs, pages: Pages, tmp_path: Path
) -> None:
    dataset = upload(pages, images(tmp_path, "wanted"))
    job_id, claim = pages.running(name="the one that needs it", dataset="wanted")
    page = tabs.open(f"{pages.url}/datasets/{dataset}")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_contain_text(job_id)
    page.get_by_role("link", name="1 run").click()
    expect(page.get_by_role("link", name="the one that needs it")).to_be_visible()
    pages.cancelled(claim)
    page.goto(f"{pages.url}/datasets/{dataset}")
    page.get_by_role("button", name="Delete").click()
    page.wait_for_url("**/datasets")
    expect(page.get_by_role("row").filter(has_text="wanted")).to_have_count(0)
    tabs.complaints[:] = [text for text in tabs.complaints if "status of 409" not in text]


def test_an_upload_that_was_cut_off_is_sent_again_by_one_button(
    tabs: Tabs, pages: Pages, tmp_path: Path
) -> None:
    page = tabs.open(f"{pages.url}/datasets")
    cut: list[Route] = []

    def once(route: Route) -> None:
        if route.request.method == "POST" and not cut:
            cut.append(route)
            route.abort()
        else:
            route.continue_()

    page.route("**/v1/datasets", once)
    page.get_by_label("File").set_input_files(images(tmp_path, "again"))
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("#problems")).to_contain_text("connection was lost")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("again is ready.")).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()
    tabs.complaints[:] = [text for text in tabs.complaints if "ERR_FAILED" not in text]


def test_a_cut_upload_goes_on_from_where_it_was(tabs: Tabs, tmp_path: Path) -> None:
    """The server is killed in the middle, and another page is opened after that."""
    own = Pages(tmp_path)
    file = tmp_path / "long.npz"
    x = np.random.default_rng(0).integers(0, 256, (40, 3, 512, 512), dtype=np.uint8)
    np.savez(file, x_train=x, y_train=np.arange(40) % 2, x_test=x[:1], y_test=[0])
    try:
        page = tabs.open(f"{own.url}/datasets")
        starts: list[int] = []
        page.context.on(
            "request",
            lambda request: (
                starts.append(int(request.headers["upload-offset"]))
                if request.method == "PATCH"
                else None
            ),
        )
        network = Network(page)
        network.limit(1_500_000)
        page.get_by_label("File").set_input_files(file)
        page.get_by_role("button", name="Upload").click()
        expect(page.locator("#said")).to_have_text(re.compile(r"^1\d\.\d MiB of 30"))
        own.kill()
        expect(page.get_by_text("it goes on when it is back")).to_be_visible()
        network.limit(4_000_000)
        own.start()
        expect(page.locator("#said")).to_have_text(re.compile(r"^[\d.]+ MiB of"))
        assert starts[-1] >= 8 * 2**20, "the piece that had arrived is not sent again"
        before = len(starts)
        page.reload()
        expect(page.locator("#said")).to_contain_text("Not uploaded to the end: long.npz")
        page.get_by_label("File").set_input_files(file)
        page.get_by_role("button", name="Upload").click()
        expect(page.get_by_text("long is ready.")).to_be_visible()
        assert min(starts[before:]) >= 8 * 2**20, starts
        page.reload()
        expect(page.get_by_text("long.npz")).to_have_count(0)
    finally:
        tabs.close()
        own.close()
    tabs.complaints[:] = [text for text in tabs.complaints if "ERR_" not in text]


def test_an_upload_that_can_be_read_in_two_ways_asks_which(
    tabs: Tabs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(interpreter(tmp_path / "environment")))
    own = Pages(tmp_path)
    file = tmp_path / "grid.bin"
    file.write_bytes(grid())
    try:
        page = tabs.open(f"{own.url}/datasets")
        page.get_by_label("File").set_input_files(file)
        page.get_by_role("button", name="Upload").click()
        page.wait_for_url("**/datasets/ds_*")
        expect(page.get_by_text("Which axes has the grid?")).to_be_visible()
        picture = page.get_by_role("img", name="Samples read with layout N H W C")
        assert picture.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 6
        page.get_by_role("button", name="Read it with layout N C H W").focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#decisions")).to_contain_text("N H W C: you said so")
        expect(page.get_by_role("heading", name="How is it to be read?")).to_have_count(0)
        assert own.http.get("/v1/datasets/grid.bin").json()["status"] == "ready"
    finally:
        tabs.close()
        own.close()


class Network:
    """What lies between a page and its server."""

    def __init__(self, page: Page) -> None:
        self._session = page.context.new_cdp_session(page)

    def limit(self, bytes_a_second: int) -> None:
        """Of what the page sends; -1: there is no limit."""
        conditions = {"offline": False, "latency": 0, "downloadThroughput": -1}
        self._session.send(
            "Network.emulateNetworkConditions", conditions | {"uploadThroughput": bytes_a_second}
        )


def test_a_slow_upload_says_how_far_it_is(tabs: Tabs, pages: Pages, tmp_path: Path) -> None:
    page = tabs.open(f"{pages.url}/datasets")
    network = Network(page)
    network.limit(20_000)
    page.get_by_label("File").set_input_files(images(tmp_path, "slow", samples=4000))
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("#said")).to_have_text(re.compile(r"^[\d.]+ KiB of [\d.]+ KiB sent$"))
    assert 0 < float(page.get_by_label("Sent").get_attribute("value") or 0) < 1
    network.limit(-1)
    expect(page.get_by_text("slow is ready.")).to_be_visible()


def test_an_upload_that_is_stopped_leaves_nothing(tabs: Tabs, pages: Pages, tmp_path: Path) -> None:
    page = tabs.open(f"{pages.url}/datasets")
    page.route("**/v1/datasets", lambda route: None)  # never answered
    page.get_by_label("File").set_input_files(images(tmp_path, "stopped"))
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped; nothing was kept.")).to_be_visible()
    expect(page.get_by_role("button", name="Upload")).to_be_enabled()


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (423, "The file had arrived, and its check goes on"),
        (409, "The file had arrived, and its check goes on"),
        (503, "Stopped; what has arrived goes by itself within a day."),
        (410, "Stopped; nothing was kept."),
    ],
)
def test_what_is_left_of_an_upload_that_is_stopped_is_told_as_the_server_says(
    tabs: Tabs, pages: Pages, tmp_path: Path, status: int, text: str
) -> None:
    page = tabs.open(f"{pages.url}/datasets")
    page.route("**/v1/datasets", lambda route: None)  # never answered

    def refused(route: Route) -> None:
        if route.request.method == "DELETE":
            route.fulfill(status=status, json={"detail": "no", "errors": []})
        else:
            route.continue_()

    page.route("**/v1/uploads/*", refused)
    page.get_by_label("File").set_input_files(images(tmp_path, f"stopped-{status}"))
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("Sent, is being checked")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#said")).to_contain_text(text)
    expect(page.get_by_role("button", name="Upload")).to_be_enabled()
    tabs.complaints[:] = [t for t in tabs.complaints if f"status of {status}" not in t]


def test_a_file_whose_last_upload_has_become_another_data_set_is_sent_again(
    tabs: Tabs, pages: Pages, tmp_path: Path
) -> None:
    """As where the page was closed before it had the answer."""
    file = images(tmp_path, "spent")
    page = tabs.open(f"{pages.url}/datasets")
    page.evaluate("tus.defaultOptions.urlStorage.removeUpload = () => Promise.resolve()")
    for name in ("spent", "spent as another"):
        page.get_by_label("File").set_input_files(file)
        page.get_by_label("Name").fill(name)
        page.get_by_role("button", name="Upload").click()
        expect(page.get_by_text(f"{name} is ready.")).to_be_visible()
        page.reload()
    tabs.complaints[:] = [text for text in tabs.complaints if "status of 409" not in text]


def test_an_upload_that_is_begun_again_after_a_lost_answer_is_one(
    tabs: Tabs, pages: Pages, tmp_path: Path
) -> None:
    page = tabs.open(f"{pages.url}/datasets")
    begun: list[str] = []

    def loses(route: Route) -> None:
        answer = route.fetch()
        begun.append(answer.json()["id"])
        if len(begun) == 1:
            route.abort()
        else:
            route.fulfill(response=answer)

    page.route("**/v1/uploads", loses)
    page.get_by_label("File").set_input_files(images(tmp_path, "begun"))
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("begun is ready.")).to_be_visible()
    assert len(begun) == 2
    assert begun[0] == begun[1]
    tabs.complaints[:] = [text for text in tabs.complaints if "ERR_FAILED" not in text]


def test_a_file_is_dropped_on_the_form(tabs: Tabs, pages: Pages, tmp_path: Path) -> None:
    content = images(tmp_path, "dropped").read_bytes()
    page = tabs.open(f"{pages.url}/datasets")
    transfer = page.evaluate_handle(
        """(bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.npz"));
            return transfer;
        }""",
        [*content],
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("dropped is ready.")).to_be_visible()
