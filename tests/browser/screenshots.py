"""Makes the pictures of the documentation: `python -m tests.browser.screenshots`.

A real service trains real jobs meanwhile; it takes two or three minutes on two cores. With
`--all FOLDER` every page is taken in both themes and three widths instead, to be looked at.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from tests.browser.conftest import FLAGS, find_chromium
from tests.browser.service import WholeService, until

IMAGES = Path(__file__).parents[2] / "docs" / "images"
MAX_BYTES = 200_000
SIZES = {"wide": (1280, 800), "narrow": (390, 844)}
WIDTHS = (390, 1024, 1600)
JOBS = (
    {"name": "SAF-F, the default", "epochs": 12},
    {"name": "SAF-E, T = 8", "method": {"name": "saf-e"}, "timesteps": 8, "epochs": 25},
    {"name": "OTTT with an update per step", "method": {"name": "ottt-o"}, "epochs": 10},
    {"name": "BPTT baseline", "method": {"name": "bptt"}, "epochs": 10},
)


def picture(
    browser: Browser, url: str, name: str, size: str = "wide", scheme: str = "light"
) -> None:
    """Store what a window of that size shows as `docs/images/<name>.png`."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB"
    )
    page = context.new_page()
    answer = page.goto(url)
    if answer is None or not answer.ok:
        raise SystemExit(f"{url} cannot be shown")
    page.wait_for_timeout(1500)  # charts and the first messages of the stream
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    context.close()
    target = IMAGES / f"{name}.png"
    image.save(target, optimize=True)
    print(f"{target.relative_to(IMAGES.parents[1])}: {target.stat().st_size} bytes")
    if target.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{target} is larger than {MAX_BYTES} bytes")


def every_picture(browser: Browser, url: str, jobs: list[str], folder: Path) -> None:
    """Store every page, whole, in both themes and three widths."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "jobs": "/",
        "job-done": f"/jobs/{jobs[0]}",
        "job-running": f"/jobs/{jobs[1]}",
        "compare": f"/compare?jobs={','.join(jobs)}",
        "new": "/new",
        "datasets": "/datasets",
        "system": "/system",
        "problem": "/nowhere",
    }
    for scheme in ("light", "dark"):
        for width in WIDTHS:
            size = {"width": width, "height": 900}
            context = browser.new_context(viewport=size, color_scheme=scheme, locale="en-GB")
            page = context.new_page()
            for name, path in pages.items():
                page.goto(url + path)
                page.wait_for_timeout(1500)
                page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)
            context.close()


def fraction(service: WholeService, job_id: str) -> float:
    """How far a job is; AssertionError when it failed."""
    job = service.job(job_id)
    assert job["error"] is None, job["error"]
    return float(job["progress"]["fraction"])


def main() -> int:
    """Start the service, train, take the pictures; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, metavar="FOLDER")
    chosen = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        path = find_chromium(playwright.chromium.executable_path)
        if path is None:
            print("no Chromium was found; name one in SAF_CHROMIUM", file=sys.stderr)
            return 2
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        service = WholeService(Path(directory))
        try:
            jobs = [service.submit(**job) for job in JOBS]
            done, running, *_ = jobs
            until(lambda: service.job(done)["status"] == "succeeded", 180)
            until(lambda: fraction(service, running) > 0.4, 180)
            if chosen.all:
                every_picture(browser, service.url, jobs, chosen.all)
                return 0
            picture(browser, f"{service.url}/jobs/{running}", "job-running")
            picture(browser, f"{service.url}/compare?jobs={done},{running}", "compare")
            picture(browser, f"{service.url}/system", "system")
            picture(browser, f"{service.url}/jobs/{running}", "job-running-dark", scheme="dark")
            picture(browser, f"{service.url}/", "jobs")
            picture(browser, f"{service.url}/", "jobs-narrow", size="narrow", scheme="dark")
            picture(browser, f"{service.url}/jobs/{done}", "job-succeeded")
            picture(browser, f"{service.url}/new", "new")
            picture(browser, f"{service.url}/datasets", "datasets")
        finally:
            service.close()
            browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
