"""Uploading a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from playwright.sync_api import expect

from tests.browser.service import Pages

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs


def test_an_upload_becomes_a_data_set_to_train_on(tabs: Tabs, pages: Pages, tmp_path: Path) -> None:
    file = tmp_path / "squares.npz"
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
    labels = np.arange(40) % 4
    np.savez(file, x_train=images, y_train=labels, x_test=images[:8], y_test=labels[:8])
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
