"""Makes the pictures of the documentation: `python -m tests.browser.screenshots`.

A real service trains real jobs meanwhile; it takes two or three minutes on two cores. With
`--all FOLDER` every page is taken in both themes and three widths instead, to be looked at; that
takes ten.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from tests.browser.conftest import FLAGS, find_chromium
from tests.browser.service import WholeService
from tests.waiting import until

IMAGES = Path(__file__).parents[2] / "docs" / "images"
MAX_BYTES = 200_000
SIZES = {"wide": (1280, 800), "narrow": (390, 844)}
WIDTHS = (390, 1024, 1600)
TOO_FAST = {"name": "sgd", "learning_rate": 100.0}
JOBS = (
    {"name": "SAF-F, the default", "epochs": 12},
    {"name": "SAF-E, T = 8", "method": {"name": "saf-e"}, "timesteps": 8, "epochs": 25},
    {"name": "OTTT with an update per step", "method": {"name": "ottt-o"}, "epochs": 10},
    {"name": "BPTT baseline", "method": {"name": "bptt"}, "epochs": 10},
)


def picture(
    browser: Browser,
    url: str,
    name: str,
    size: str = "wide",
    scheme: Literal["light", "dark"] = "light",
    predicts: bool = False,
) -> None:
    """Store what a window of that size shows as `docs/images/<name>.png`; `predicts`: with
    the prediction of a job's network for a sample."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB"
    )
    page = context.new_page()
    answer = page.goto(url)
    if answer is None or not answer.ok:
        raise SystemExit(f"{url} cannot be shown")
    page.wait_for_timeout(1500)  # charts and the first messages of the stream
    if predicts:
        page.get_by_role("button", name="The next sample").click()
        page.locator("#said", has_text="after 8 of 8 time steps").wait_for()
        page.get_by_role("slider", name="Time step").fill("5")
        page.locator("#predict").evaluate("(section) => section.scrollIntoView()")
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    context.close()
    target = IMAGES / f"{name}.png"
    image.save(target, optimize=True)
    print(f"{target.relative_to(IMAGES.parents[1])}: {target.stat().st_size} bytes")
    if target.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{target} is larger than {MAX_BYTES} bytes")


def every_picture(browser: Browser, service: WholeService, jobs: list[str], folder: Path) -> None:
    """Store every page, whole, in both themes and three widths."""
    folder.mkdir(parents=True, exist_ok=True)
    events = upload_events(service)
    failed = service.submit(name="Too fast", epochs=3, optimizer=TOO_FAST, priority=0)
    frames = service.submit(name="Moving dots", dataset="dots", timesteps=5, epochs=4, priority=0)
    others = [
        service.submit(name=f"Seed {seed}", seed=seed, metadata={"sweep": "seeds"}, priority=9)
        for seed in range(60)
    ]
    for job_id in others[:40]:
        service.http.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    for job_id in others[40:45]:
        service.http.post(f"/v1/jobs/{job_id}/pause").raise_for_status()
    endless = service.submit(name="SAF-E for long", epochs=100_000, method={"name": "saf-e"})
    until(lambda: service.job(failed)["status"] == "failed")
    until(lambda: service.job(frames)["status"] == "succeeded")
    for job_id in others[45:55]:
        service.http.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    until(lambda: (service.job(endless)["checkpoint_step"] or 0) > 30)
    sweep = submit_sweep(service)
    pages = {
        "jobs": "/",
        "jobs-searched": "/?q=seed+1&status=cancelled&sort=name",
        "job-done": f"/jobs/{jobs[0]}",
        "job-running": f"/jobs/{endless}",
        "job-failed": f"/jobs/{failed}",
        "job-cancelled": f"/jobs/{others[0]}",
        "job-waiting": f"/jobs/{others[-1]}",
        "job-events": f"/jobs/{frames}",
        "compare": f"/compare?jobs={','.join(jobs[:3])}",
        "compare-many": f"/compare?jobs={','.join([*jobs, frames, failed, *others[:3]])}",
        "sweeps": "/sweeps",
        "sweep": f"/sweeps/{sweep}",
        "new": "/new",
        "new-published": "/new?preset=saf-e-cifar10",
        "datasets": "/datasets",
        "dataset-digits": "/datasets/digits",
        "dataset-events": f"/datasets/{events}",
        "system": "/system",
        "docs": "/docs",
        "problem": "/nowhere",
    }
    for scheme in ("light", "dark"):
        for width in WIDTHS:
            size = {"width": width, "height": 900}
            context = browser.new_context(viewport=size, color_scheme=scheme, locale="en-GB")  # type: ignore[arg-type]
            page = context.new_page()
            for name, path in pages.items():
                page.goto(service.url + path)
                page.wait_for_timeout(1500)
                sample = page.get_by_role("button", name="The next sample")
                if sample.count() and sample.is_visible():
                    sample.click()
                    page.wait_for_timeout(4000)
                page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)
            context.close()


def upload_events(service: WholeService) -> str:
    """A data set of event frames: dots that move to the right or downwards, among noise."""
    random = np.random.default_rng(0)
    x = random.binomial(1, 0.02, (240, 5, 2, 16, 16)).astype(np.uint8)
    y = np.arange(240) % 2
    for sample, (start, down) in enumerate(zip(random.integers(2, 13, 240), y, strict=True)):
        for step in range(5):
            ahead = 2 + 3 * step
            row, column = (ahead, start) if down else (start, ahead)
            x[sample, step, 1, row - 1 : row + 1, column - 1 : column + 1] = 3
    file = io.BytesIO()
    np.savez(file, x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:])
    answer = service.http.post(
        "/v1/datasets", files={"file": ("dots.npz", file.getvalue())}, data={"name": "dots"}
    )
    answer.raise_for_status()
    return str(answer.json()["id"])


def submit_sweep(service: WholeService) -> str:
    """Three methods with three seeds, before all others in line; its id."""
    body = {
        "name": "Three methods",
        "job": {"dataset": "digits", "timesteps": 4, "epochs": 5, "priority": 0},
        "over": {"/method/name": ["saf-e", "saf-f", "ottt-a"], "/seed": [0, 1, 2]},
    }
    answer = service.http.post("/v1/sweeps", json=body)
    answer.raise_for_status()
    return str(answer.json()["id"])


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
            until(lambda: service.job(done)["status"] == "succeeded")
            until(lambda: fraction(service, running) > 0.4)
            if chosen.all:
                every_picture(browser, service, jobs, chosen.all)
                return 0
            picture(browser, f"{service.url}/jobs/{running}", "job-running")
            picture(browser, f"{service.url}/jobs/{running}", "predict", predicts=True)
            picture(browser, f"{service.url}/compare?jobs={done},{running}", "compare")
            picture(browser, f"{service.url}/system", "system")
            picture(browser, f"{service.url}/jobs/{running}", "job-running-dark", scheme="dark")
            picture(browser, f"{service.url}/", "jobs")
            picture(browser, f"{service.url}/", "jobs-narrow", size="narrow", scheme="dark")
            picture(browser, f"{service.url}/jobs/{done}", "job-succeeded")
            picture(browser, f"{service.url}/new", "new")
            picture(browser, f"{service.url}/datasets", "datasets")
            service.http.post(f"/v1/jobs/{running}/cancel")  # if it has not ended meanwhile
            sweep = submit_sweep(service)
            until(lambda: service.http.get(f"/v1/sweeps/{sweep}").json()["ended"] >= 7)
            picture(browser, f"{service.url}/sweeps/{sweep}", "sweep")
        finally:
            service.close()
            browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
