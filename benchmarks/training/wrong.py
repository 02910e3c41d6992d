"""Trainings that really go wrong, and what a person is told: `python -m benchmarks.training.wrong`.

The one-machine service as users start it gets small data sets and jobs that cannot end well, over
HTTP; the table says of each what the API answers, what `saf show` prints and what stands first on
the job's page.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import RESULTS
from benchmarks.data.drawn import shapes
from benchmarks.service.throughput import ENDED, Service
from saf.data import Dataset

TABLE = RESULTS / "what-went-wrong.md"
QUICK: Mapping[str, Any] = {
    "network": {"name": "convnet", "channels": [8, 8]},
    "timesteps": 3,
    "epochs": 4,
    "batch_size": 16,
}
SGD: Mapping[str, Any] = {"optimizer": {"name": "sgd", "learning_rate": 0.1}}
LONGER: Mapping[str, Any] = {"epochs": 20}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Something that goes wrong."""

    what: str
    arrays: Mapping[str, np.ndarray]
    job: Mapping[str, Any] = field(default_factory=dict)


def cases() -> list[Case]:
    """All of them, on 120 + 80 drawn images of four classes."""
    plain = arrays_of(shapes(120, 80))
    generator = np.random.default_rng(0)
    floats = {name: x / np.float32(255) for name, x in plain.items() if name.startswith("x")}
    holes = floats["x_train"].astype(np.float32)
    holes[generator.random(holes.shape) < 0.01] = np.nan
    nan = plain | {"x_train": holes, "x_test": floats["x_test"].astype(np.float32)}
    gain_1 = {"network": {**QUICK["network"], "gain": 1.0}}
    return [
        Case(
            what="learning rate × 30, no clipping (SAF-F)",
            arrays=plain,
            job={"optimizer": {"name": "sgd", "learning_rate": 3.0}, "max_gradient_norm": None},
        ),
        Case(
            what="learning rate × 30, no clipping (BPTT)",
            arrays=plain,
            job={
                "optimizer": {"name": "sgd", "learning_rate": 3.0},
                "max_gradient_norm": None,
                "method": {"name": "bptt"},
            },
        ),
        Case(
            what="threshold × 50, gains of 1",
            arrays=plain,
            job=gain_1 | {"neuron": {"threshold": 50}},
        ),
        Case(what="threshold × 50, gains fitted", arrays=plain, job={"neuron": {"threshold": 50}}),
        Case(
            what="labels shuffled",
            arrays=plain | {"y_train": generator.permutation(plain["y_train"])},
        ),
        Case(what="one class", arrays=plain | {"y_train": np.zeros_like(plain["y_train"])}),
        Case(
            what="a layer that dies after an epoch (SGD at 30, clipped)",
            arrays=plain,
            job={
                "optimizer": {"name": "sgd", "learning_rate": 30.0},
                "schedule": {"warmup_epochs": 3},
            },
        ),
        Case(
            what="λ = 1 and T = 1",
            arrays=plain,
            job={"timesteps": 1, "neuron": {"decay": 1.0}, "epochs": 12},
        ),
        Case(
            what="test set equal to the training set",
            arrays=plain | {"x_test": plain["x_train"], "y_test": plain["y_train"]},
        ),
        Case(
            what="labels of the test set numbered from another class on",
            arrays=plain | {"y_test": (plain["y_test"] + 1) % 4},
            job=LONGER,
        ),
        Case(
            what="labels by lot, test images that are training images but for one pixel",
            arrays=plain
            | {
                "y_train": (lots := generator.integers(0, 4, len(plain["y_train"]))),
                "x_test": _changed(plain["x_train"])[:80],
                "y_test": lots[:80],
            },
            job=LONGER,
        ),
        Case(
            what="learning rate / 1000",
            arrays=plain,
            job={"optimizer": {"name": "adamw", "learning_rate": 2e-6}},
        ),
        Case(what="constant images", arrays=plain | {"x_train": np.full_like(plain["x_train"], 7)}),
        Case(what="1 % of the pixels NaN", arrays=nan),
        Case(
            what="grid of 1 bit",
            arrays=plain,
            job={"conversion": {"grid_bits": 1}, "epochs": 12},
        ),
    ]


def _changed(images: np.ndarray) -> np.ndarray:
    """Copies that differ in the lowest bit of one pixel."""
    changed = images.copy()
    changed[:, 0, 0, 0] ^= 1
    return changed


def arrays_of(data: Dataset) -> dict[str, np.ndarray]:
    """The arrays of a data set by their names in an `.npz`."""
    names = ("x_train", "y_train", "x_test", "y_test")
    arrays = {name: getattr(data, name) for name in names}
    return arrays | {"class_names": np.array(data.class_names)}


def main() -> int:
    """The command; see the module."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="saf-wrong-") as directory:
        service = Service(Path(directory), warm=True)
        try:
            for number, case in enumerate(cases()):
                row = f"| {case.what} | " + " | ".join(tried(service, number, case)) + " |"
                print(row, flush=True)
                rows.append(row)
        finally:
            service.stop()
    head = [
        "# What went wrong, and what is said",
        "",
        "`python -m benchmarks.training.wrong`: trainings that really go wrong, through the",
        "one-machine service. `saf show` prints these words as well; the page's are those that",
        "stand first.",
        "",
        "| what | API | `saf show` | page |",
        "|---|---|---|---|",
    ]
    TABLE.write_text("\n".join([*head, *rows, ""]))
    return 0


def tried(service: Service, number: int, case: Case) -> tuple[str, str, str]:
    """What the API, the command line and the page say."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **case.arrays)
    answer = service.http.post(
        "/v1/datasets",
        files=[
            ("name", (None, f"wrong{number}")),
            ("file", (f"wrong{number}.npz", content.getvalue())),
        ],
    )
    if answer.status_code == 422:  # read while it was uploaded
        return (f"upload refused (422): {answer.json()['detail']}", "no job", "no job")
    answer.raise_for_status()
    data = answer.json()
    while data["status"] == "checking":
        time.sleep(0.2)
        data = service.get(data["urls"]["self"])
    if data["status"] != "ready":
        (problem, *_) = data["problems"]
        page = service.http.get(data["urls"]["page"], headers={"accept": "text/html"}).text
        shown = "the same" if problem["message"][:40] in unescape(page) else "missing"
        return (f"data set invalid: {problem['message']}. {problem['hint']}", "no job", shown)
    answer = service.http.post("/v1/jobs", json={**QUICK, **case.job, "dataset": data["id"]})
    answer.raise_for_status()
    job = answer.json()
    while job["status"] not in ENDED:
        time.sleep(0.5)
        job = service.get(job["urls"]["self"])
    command = [sys.executable, "-m", "saf.cli", "show", job["id"]]
    told = subprocess.run(
        command,
        env={**os.environ, "SAF_URL": str(service.http.base_url)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    page = service.http.get(job["urls"]["page"], headers={"accept": "text/html"}).text
    return (_of_api(job), _of_terminal(job, told), _of_page(page))


def _of_api(job: Mapping[str, Any]) -> str:
    said = f"{job['status']}, health {job['health']}"
    if job["error"]:
        error = job["error"]
        return f"{said}; {error['code']}: {error['message']}. Hint: {error['hint']}"
    found = "; ".join(f"{f['code']}: {f['message']}" for f in job["findings"]) or "no finding"
    result = job["result"]
    return (
        f"{said}; {found}; test {result['test_accuracy']:.1%}, LIF {result['lif_accuracy']:.1%}, "
        f"{result['verdict']}"
    )


def _of_terminal(job: Mapping[str, Any], told: str) -> str:
    """Whether everything that the API says is printed."""
    wanted = [job["error"]["message"]] if job["error"] else [f["message"] for f in job["findings"]]
    flat = " ".join(told.split())
    missing = [text for text in wanted if " ".join(text.split()) not in flat]
    return f"lacks: {missing}" if missing else "the same" if wanted else "no finding"


def _of_page(page: str) -> str:
    """The status and the first words of the job's page that warn."""
    page = re.sub(r"<noscript>.*?</noscript>", "", page, flags=re.DOTALL)
    text = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page)))
    notice = re.search(r'class="notice[^"]*"[^>]*>(.*?)</div>', page, re.DOTALL)
    status = re.search(r"(Succeeded, with warnings|Succeeded|Failed)", text, re.IGNORECASE)
    said = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", notice[1]))) if notice else ""
    return f"{status[1] if status else '?'}: {said.strip()[:160]}"


if __name__ == "__main__":
    sys.exit(main())
