"""The section "Use elsewhere" of a job: a button, and what came out."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect

from api.settings import Settings
from api.store.blobs.directory import DirectoryStore
from api.store.runs import artifacts
from saf.data import digits
from saf.lif.network import LIFNetwork
from tests.api.jobs.results.test_predict import network
from tests.browser.service import Pages
from tests.browser.test_accessibility import violations
from tests.saf.lif.grid_networks import architected
from worker.exports.exporter import Exporter
from worker.processes.scratch import Scratch

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs


FILES = """async (files) => {
  const script = document.querySelector('script[src*="jobs/job.js"]').src;
  const { Here } = await import(script.replace("job.js", "here.js"));
  window.here ??= new Here();
  const found = [];
  for (const base64 of files) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    found.push(await window.here.answer({ file: new Blob([bytes]) }));
  }
  return found;
}"""


def finished(pages: Pages, lif: LIFNetwork, directory: Path) -> str:
    """A job of the digits that has succeeded with this network."""
    job_id, claim = pages.running(name="to export", dataset="digits")
    store = DirectoryStore(Settings(data_dir=pages.directory).artifacts)
    lif.save(directory / "lif.safetensors")
    incoming = store.receive(directory / "lif.safetensors")
    with pages.database.writing() as session:
        artifacts.register(
            session,
            job_id=job_id,
            name="lif.safetensors",
            kind="network",
            sha256=store.keep(session, incoming),
        )
    pages.succeed(claim)
    return job_id


def work(pages: Pages, directory: Path) -> None:
    """What a worker does: make the exports that wait."""
    settings = Settings(data_dir=pages.directory)
    scratch = Scratch(directory, "worker_1")
    store = DirectoryStore(settings.artifacts)
    Exporter(pages.database, store, settings, scratch, "worker_1").work()
    scratch.remove()


def test_a_network_is_exported_by_a_button_and_its_files_are_there(
    tabs: Tabs, pages: Pages, tmp_path: Path
) -> None:
    job_id = finished(pages, network(), tmp_path)
    page = tabs.open(f"{pages.url}/jobs/{job_id}")
    section = page.locator("#exports")
    expect(section).to_contain_text("It cannot express this network: its weights are on no grid")
    expect(section.get_by_role("button", name="Export to integer C99")).to_have_count(0)
    button = section.get_by_role("button", name="Export to numpy")
    button.click()
    expect(page.locator("#export-python")).to_contain_text("queued")
    expect(button).to_be_disabled()
    work(pages, tmp_path)
    expect(page.locator("#export-python")).to_contain_text("identical")
    expect(page.locator("#export-python")).to_contain_text("It is the same network there.")
    expect(page.locator("#export-python pre")).to_contain_text("from lif_numpy import Network")
    with page.expect_download() as download:
        page.get_by_role("link", name="lif_numpy.py").click()
    assert download.value.suggested_filename == "lif_numpy.py"
    expect(button).to_have_text("Export again")
    expect(page.locator("#artifacts")).not_to_contain_text("lif_numpy.py")
    assert violations(page) == []


def test_a_network_predicts_in_the_browser_without_the_server_as_it_does_there(
    tabs: Tabs, pages: Pages, tmp_path: Path
) -> None:
    lif = architected({"name": "convnet", "channels": [4, 6]}, 1, 8, 8)
    job_id = finished(pages, lif, tmp_path)
    page = tabs.open(f"{pages.url}/jobs/{job_id}")
    where, said = page.locator("#predict-where"), page.locator("#said")
    where.get_by_role("button", name="Run it in the browser").click()
    expect(where).to_contain_text("its export is queued")
    draw(page, 60)
    expect(said).to_contain_text("on the server")
    work(pages, tmp_path)
    expect(where).to_contain_text("predicted in your browser, by snn.wasm")
    draw(page, 120)
    expect(said).to_contain_text("in your browser")
    random = np.random.default_rng(0)
    files = [
        written(random.integers(0, 256, shape, np.uint8))
        for shape in ((8, 8), (8, 8), (28, 28), (40, 13), (5, 6), (30, 50, 3))
    ]
    page.evaluate(FILES, files[:1])  # loads what it needs
    image = page.locator(".answer img")
    before = image.get_attribute("src") or ""
    page.context.set_offline(True)
    draw(page, 180)
    expect(image).not_to_have_attribute("src", before)
    expect(said).to_contain_text("in your browser")
    here = page.evaluate(FILES, files)
    page.context.set_offline(False)
    for file, answer in zip(files, here, strict=True):
        there = pages.http.post(
            f"/v1/jobs/{job_id}/predict?detail=true",
            content=base64.b64decode(file),
            headers={"Content-Type": "image/png"},
        ).json()
        del there["object"], there["job_id"]
        assert seen(answer.pop("image")) == seen(there.pop("image"))
        assert answer == there
    assert sum(sum(layer["spikes"]) for answer in here for layer in answer["layers"]) > 0
    assert len({answer["predicted"] for answer in here}) > 1
    page.locator("#sample").fill("3")
    page.locator("#sample-after").click()
    expect(said).to_contain_text("; it is ")
    expect(said).to_contain_text("in your browser")
    sampled = page.evaluate("(sample) => window.here.answer({ sample })", 4)
    there = pages.http.post(f"/v1/jobs/{job_id}/predict?detail=true", json={"sample": 4}).json()
    assert seen(sampled.pop("image")) == seen(there.pop("image"))
    assert sampled == {key: there[key] for key in sampled}
    assert sampled["label"] == digits().y_test[4]
    expect(page.locator("#predict-problem")).to_be_hidden()
    assert violations(page) == []


def draw(page: Page, x: int) -> None:
    """A line on the pad, on a pad that was cleared."""
    page.locator("#clear-pad").click()
    page.locator("#pad").hover(position={"x": x, "y": 40})
    page.mouse.down()
    page.locator("#pad").hover(position={"x": 90, "y": 180})
    page.mouse.up()


def written(pixels: np.ndarray[Any, Any]) -> str:
    """A PNG in base64."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def seen(address: str) -> list[list[int]]:
    """The pixels of a data URL."""
    content = base64.b64decode(address.partition(",")[2])
    with Image.open(io.BytesIO(content)) as image:
        pixels: list[list[int]] = np.asarray(image.convert("L")).tolist()
    return pixels
