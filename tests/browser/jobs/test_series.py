"""Series of different lengths on the pages: uploaded, trained on, tried, and run as they come."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.service import WholeService
from tests.browser.test_accessibility import violations

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs

HEADER = """@problemName hills
@timestamps false
@univariate false
@dimensions 6
@equalLength false
@classLabel true up down
@data
"""


def hills(path: Path) -> None:
    """An archive of `.ts` files: 6 channels that rise or fall, for 5 to 8 steps."""
    generator = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for part, count in (("TRAIN", 40), ("TEST", 12)):
            lines = []
            for number in range(count):
                slope = np.linspace(-1, 1, 5 + number % 4) * (-1 if number % 2 else 1)
                x = slope + generator.normal(0, 0.1, (6, len(slope)))
                rows = (",".join(f"{value:.3f}" for value in row) for row in x)
                lines.append(":".join([*rows, "down" if number % 2 else "up"]))
            archive.writestr(f"hills_{part}.ts", HEADER + "\n".join(lines) + "\n")


def test_series_from_their_files_to_a_network_that_runs_step_by_step(
    tabs: Tabs, service: WholeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hills(tmp_path / "hills.zip")
    page = tabs.open(f"{service.url}/datasets")
    page.get_by_label("File", exact=True).set_input_files(tmp_path / "hills.zip")
    page.get_by_role("button", name="Upload").click()
    row = page.get_by_role("row").filter(has_text="hills")
    expect(row).to_contain_text("8 steps of 6 channels")
    page.get_by_role("link", name="hills").click()
    facts = page.get_by_role("region", name="What it is")
    expect(facts).to_contain_text("6 channels, 5 to 8 time steps of its own")
    expect(facts).to_contain_text("filled up to T = 8")

    page.get_by_role("link", name="Train on it").click()
    expect(page.get_by_label("Network", exact=True)).to_have_value("mlp")
    expect(page.get_by_label("Method", exact=True)).to_have_value("saf-e")
    page.get_by_label("Network", exact=True).select_option("rnn")
    page.locator("#field-network-features-rnn").fill("16, 16")
    page.get_by_label("Encoding of the input").select_option("onoff")
    page.get_by_label("Epochs", exact=True).fill("2")
    page.get_by_role("button", name="Submit job").click()
    page.wait_for_url("**/jobs/job_*")
    expect(page.locator("#status")).to_have_text(re.compile("^succeeded"))

    predict = page.get_by_role("region", name="Predict")
    expect(predict).to_contain_text("A row for each time step, 8 at most; a column for each of 6")
    page.get_by_role("button", name="The next sample").click()
    expect(page.locator("#said")).to_contain_text("after 6 of 6 time steps; it is down")
    rising = tmp_path / "rising.csv"
    np.savetxt(rising, np.linspace(-1, 1, 5)[:, None] * np.ones(6), delimiter=",")
    page.locator("#predict-file").set_input_files(rising)
    expect(page.locator("#said")).to_contain_text("after 5 of 5 time steps")
    page.get_by_role("slider", name="Time step").fill("3")
    raster = page.get_by_role("img", name=re.compile("^Spikes of layer2: .* at time step 3"))
    expect(raster).to_be_visible()
    page.emulate_media(reduced_motion="reduce")
    assert violations(page) == []

    link = page.get_by_role("row").filter(has_text="lif.safetensors").get_by_role("link")
    with page.expect_download() as downloading:
        link.click()
    downloading.value.save_as(tmp_path / "lif.safetensors")
    monkeypatch.chdir(tmp_path)
    run: dict[str, Any] = {}
    exec(page.get_by_label("Python that runs the network").inner_text(), run)
    assert run["scores"].equal(run["network"](run["series"]))
    assert run["state"] is not None
