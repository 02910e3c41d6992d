"""The section "Use elsewhere" of a job: a button, and what came out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from api.settings import Settings
from api.store.blobs.directory import DirectoryStore
from api.store.runs import artifacts
from tests.api.jobs.results.test_predict import network
from tests.browser.service import Pages
from tests.browser.test_accessibility import violations
from worker.exports.exporter import Exporter
from worker.processes.scratch import Scratch

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs


def test_a_network_is_exported_by_a_button_and_its_files_are_there(
    tabs: Tabs, pages: Pages, tmp_path: Path
) -> None:
    settings = Settings(data_dir=pages.directory)
    store = DirectoryStore(settings.artifacts)
    job_id, claim = pages.running(name="to export", dataset="digits")
    network().save(tmp_path / "lif.safetensors")
    incoming = store.receive(tmp_path / "lif.safetensors")
    with pages.database.writing() as session:
        artifacts.register(
            session,
            job_id=job_id,
            name="lif.safetensors",
            kind="network",
            sha256=store.keep(session, incoming),
        )
    pages.succeed(claim)
    page = tabs.open(f"{pages.url}/jobs/{job_id}")
    section = page.locator("#exports")
    expect(section).to_contain_text("It cannot express this network: its weights are on no grid")
    expect(section.get_by_role("button", name="Export to integer C99")).to_have_count(0)
    button = section.get_by_role("button", name="Export to numpy")
    button.click()
    expect(page.locator("#export-python")).to_contain_text("queued")
    expect(button).to_be_disabled()
    scratch = Scratch(tmp_path, "worker_1")
    exporter = Exporter(pages.database, store, settings, scratch, "worker_1")
    exporter.work()
    scratch.remove()
    expect(page.locator("#export-python")).to_contain_text("identical", timeout=15_000)
    expect(page.locator("#export-python")).to_contain_text("It is the same network there.")
    expect(page.locator("#export-python pre")).to_contain_text("from lif_numpy import Network")
    with page.expect_download() as download:
        page.get_by_role("link", name="lif_numpy.py").click()
    assert download.value.suggested_filename == "lif_numpy.py"
    expect(button).to_have_text("Export again")
    expect(page.locator("#artifacts")).not_to_contain_text("lif_numpy.py")
    assert violations(page) == []
