"""Jobs side by side."""

from __future__ import annotations

import csv
import io
import math
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING

import numpy as np
import pytest

from api.store.jobs import lifecycle, progress
from api.store.runs import metrics

if TYPE_CHECKING:
    from tests.api.conftest import Server

PAGE = {"Accept": "text/html,*/*"}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def pair(shared: Server) -> tuple[str, str]:
    """Two jobs that ended: one better, one faster."""
    ids = []
    for name, accuracy, seconds, steps in (("=better", 0.9, 0.2, 4), ("faster", 0.8, 0.1, 8)):
        job = shared.submit(name=name, timesteps=steps, seed=3)
        claim = shared.run()
        points = {
            "test_accuracy": [(10, 0.5), (20, accuracy)],
            "test_loss": [(10, 2.0), (20, math.nan), (30, 0.02)],
        }
        latest = {"test_accuracy": accuracy, "step_seconds": seconds}
        with shared.service.database.writing() as session:
            metrics.append(session, claim.job_id, claim.attempt, points)
            progress.trained(
                session, claim, step=20, epoch=2.0, latest=latest, best_accuracy=accuracy
            )
        kept = "measured" if name == "faster" else "differs"
        cost = None if name == "faster" else 2.5
        shared.succeed(claim, lif_accuracy=accuracy - 0.2, verdict=kept, rounding_cost_points=cost)
        ids.append(str(job["id"]))
    return ids[0], ids[1]


def test_differing_settings_and_the_best_results_are_told(
    shared: Server, pair: tuple[str, str]
) -> None:
    better, faster = pair
    found = shared.get("/v1/comparison", jobs=f"{better},{faster}")
    assert [job["name"] for job in found["jobs"]] == ["=better", "faster"]
    differing = {one["pointer"]: one["values"] for one in found["settings"] if one["differs"]}
    assert differing == {"/timesteps": [4, 8]}
    assert {"/seed", "/method/name"} <= {one["pointer"] for one in found["settings"]}
    best = {one["name"]: one["best"] for one in found["results"]}
    assert best["best_accuracy"] == best["lif_accuracy"] == [better]
    assert [job["verdict"] for job in found["jobs"]] == ["differs", "measured"]
    results = {one["name"]: one["values"] for one in found["results"]}
    assert results["rounding_cost_points"] == [2.5, None]
    page = shared.http.get(f"/compare?jobs={better},{faster}", headers=PAGE).text
    assert '<span class="verdict-differs">differs</span>' in page
    assert best["step_seconds"] == [faster]
    assert best["parameters"] == []


def test_a_job_that_failed_is_the_best_at_nothing(shared: Server, pair: tuple[str, str]) -> None:
    failed = shared.submit(name="failed")["id"]
    claim = shared.run()
    latest = {"step_seconds": 0.01, "firing_rate": 0.0, "test_accuracy": 0.99}
    with shared.service.database.writing() as session:
        progress.trained(session, claim, step=2, epoch=1.0, latest=latest, best_accuracy=0.99)
    shared.fail(claim)
    found = shared.get("/v1/comparison", jobs=",".join([*pair, failed]))
    assert [one["name"] for one in found["results"] if failed in one["best"]] == []
    best = {one["name"]: one["best"] for one in found["results"]}
    assert (best["best_accuracy"], best["step_seconds"]) == ([pair[0]], [pair[1]])


def test_accuracies_on_several_data_sets_are_not_ranked(
    shared: Server, pair: tuple[str, str]
) -> None:
    content = io.BytesIO()
    x = np.random.default_rng(0).integers(0, 256, (24, 1, 8, 8), np.uint8)
    y = np.arange(24) % 2
    np.savez(content, x_train=x, y_train=y, x_test=x[:6], y_test=y[:6])
    file = {"file": ("other.npz", content.getvalue())}
    sent = shared.http.post("/v1/datasets", files=file, data={"name": "other"})
    assert sent.status_code == 201, sent.text
    other = shared.submit(dataset="other", name="other")["id"]
    claim = shared.run()
    latest = {"step_seconds": 0.01, "test_accuracy": 0.99}
    with shared.service.database.writing() as session:
        progress.trained(session, claim, step=20, epoch=2.0, latest=latest, best_accuracy=0.99)
    shared.succeed(claim, lif_accuracy=0.99, verdict="measured", rounding_cost_points=None)
    found = shared.get("/v1/comparison", jobs=",".join([*pair, other]))
    best = {one["name"]: one["best"] for one in found["results"]}
    assert best["best_accuracy"] == best["lif_accuracy"] == best["test_accuracy"] == []
    assert best["step_seconds"] == [other]


def test_a_job_that_was_stopped_early_is_not_the_fastest(
    shared: Server, pair: tuple[str, str]
) -> None:
    stopped = shared.submit(name="stopped")["id"]
    claim = shared.run()
    with shared.service.database.writing() as session:
        lifecycle.cancel(session, stopped)
        lifecycle.stopped(session, claim)
    found = shared.get("/v1/comparison", jobs=",".join([*pair, stopped]))
    (took,) = [one for one in found["results"] if one["name"] == "run_seconds"]
    assert took["values"][2] is not None
    assert stopped not in took["best"]


def test_the_csv_has_a_line_for_each_job_and_no_formula(
    shared: Server, pair: tuple[str, str]
) -> None:
    answer = shared.http.get(f"/v1/comparison?jobs={pair[0]}&jobs={pair[1]}&format=csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert 'filename="comparison.csv"' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["id"] for row in rows] == list(pair)
    assert [row["name"] for row in rows] == ["'=better", "faster"]
    assert [float(row["best_accuracy"]) for row in rows] == [0.9, 0.8]
    assert [row["verdict"] for row in rows] == ["differs", "measured"]
    assert [row["rounding_cost_points"] for row in rows] == ["2.5", ""]
    assert [row["/timesteps"] for row in rows] == ["4", "8"]
    assert [row["parameters"] for row in rows] == ["58474", "58474"]


def test_the_figure_stands_by_itself_and_shows_every_job_and_what_is_no_number(
    shared: Server, pair: tuple[str, str]
) -> None:
    query = f"jobs={','.join(pair)}&format=svg&log=true"
    answer = shared.http.get(f"/v1/comparison?{query}")
    assert answer.headers["content-type"] == "image/svg+xml"
    root = ElementTree.fromstring(answer.text)
    assert root.tag == f"{SVG}svg"
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert f"=better {pair[0]}" in texts
    drawn = {f"{what}, test (once, at the end)" for what in ("Accuracy", "Loss")}
    assert drawn <= {text.removesuffix(", logarithmic") for text in texts}
    curves = [group for group in root.iter(f"{SVG}g") if group.get("data-name")]
    assert len(curves) == 4
    assert all(group.get("stroke", "").startswith("#") for group in curves)
    assert len([title for title in root.iter(f"{SVG}title") if title.text == "no number"]) == 2
    assert "href" not in answer.text
    assert "<style" not in answer.text


def test_the_page_can_be_read_without_scripts_and_zooms_by_its_address(
    shared: Server, pair: tuple[str, str]
) -> None:
    page = shared.http.get(f"/compare?jobs={','.join(pair)}&from=15&to=25&x=step", headers=PAGE)
    assert page.status_code == 200
    assert "90.00 %" in page.text
    assert '<th scope="row" class="mono">timesteps</th>' in page.text
    assert 'data-x="20.0 20.0"' not in page.text
    assert "Show the whole" in page.text
    assert page.text.count('<svg class="figure"') == 1  # the loss has no number there


def test_a_job_that_is_gone_is_named_and_the_others_are_compared(
    shared: Server, pair: tuple[str, str]
) -> None:
    page = shared.http.get(f"/compare?jobs={pair[0]},job_gone", headers=PAGE)
    assert page.status_code == 200
    assert "<code>job_gone</code>" in page.text
    assert shared.get("/v1/comparison", jobs=f"{pair[0]},job_gone")["missing"] == ["job_gone"]
    assert shared.http.get("/v1/comparison?jobs=job_gone").status_code == 404


def test_more_jobs_than_can_be_told_apart_are_refused_with_the_limit(shared: Server) -> None:
    many = ",".join(f"job_{number}" for number in range(13))
    refused = shared.http.get(f"/v1/comparison?jobs={many}")
    assert refused.status_code == 422
    assert "at most 12 jobs can be compared, not 13" in refused.json()["detail"]
    page = shared.http.get(f"/compare?jobs={many}", headers=PAGE)
    assert page.status_code == 422
    assert "at most 12 jobs" in page.text
    assert "Nothing to compare" in shared.http.get("/compare", headers=PAGE).text
