"""What came out of a job, on its page: findings first, then numbers, class by class."""

from __future__ import annotations

import html
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from api.jobs.pages.class_table import class_table
from api.store.runs import artifacts
from saf.training.evaluation.classes import by_class
from tests.api.conftest import Server
from tests.api.jobs.test_health import FINDING, PAGE, SUMMARY


def report_of(classes: int, samples: int = 4) -> dict[str, Any]:
    """A report of which each sample of class 1 is taken for class 0, and no other is wrong."""
    labels = torch.arange(classes).repeat_interleave(samples)
    predicted = torch.where(labels == 1, 0, labels)
    names = tuple(f"class {number}" for number in range(classes))
    return {"classes": by_class(predicted, labels, names)}


def finished(server: Server, directory: Path, report: dict[str, Any], **summary: Any) -> str:
    """The page of a job that left this report."""
    job = server.submit()
    claim = server.run(steps_total=10)
    full = {
        **report,
        "summary": {"peak_memory_bytes": 1},
        "environment": {"packages": {}},
        "seconds": {},
    }
    path = directory / "report.json"
    path.write_text(json.dumps(full))
    store = server.service.store
    incoming = store.receive(path)
    with server.service.database.writing() as session:
        sha256 = store.keep(session, incoming)
        artifacts.register(
            session, job_id=claim.job_id, name="report.json", kind="report", sha256=sha256
        )
    server.succeed(claim, **{**SUMMARY, **summary})
    answer = server.http.get(job["urls"]["page"], headers=PAGE)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_few_classes_have_a_matrix() -> None:
    found = class_table(report_of(3))
    assert found is not None
    assert found.matrix == [[4, 0, 0], [4, 0, 0], [0, 0, 4]]
    assert [row.accuracy for row in found.rows] == [1.0, 0.0, 1.0]
    assert found.pairs == []


def test_many_classes_have_the_pairs_that_are_confused_most_often() -> None:
    found = class_table(report_of(31))
    assert found is not None
    assert found.matrix is None
    pairs = [(pair.name, pair.taken_for, pair.count, pair.share) for pair in found.pairs]
    assert pairs == [("class 1", "class 0", 4, 1.0)]


def test_of_very_many_classes_the_worst_are_shown() -> None:
    found = class_table(report_of(200, samples=1))
    assert found is not None
    assert (found.classes, len(found.rows), found.rows[0].name) == (200, 100, "class 1")


@pytest.mark.parametrize("report", [None, {}, {"classes": None}])
def test_a_report_of_before_has_no_classes(report: Any) -> None:
    assert class_table(report) is None


def test_the_page_says_what_is_wrong_before_it_says_how_good_it_is(
    server: Server, tmp_path: Path
) -> None:
    page = finished(server, tmp_path, report_of(3))
    warning, accuracy = page.index("No better than no network."), page.index("24.00 %</strong>")
    assert warning < accuracy
    assert f"What to change: {FINDING['hint']}." in page
    assert "succeeded<span" in page
    assert "with warnings" in page
    assert "the most frequent class 26.00 %, a linear classifier 50.00 %" in page
    assert "25.00 % as trained, on the test samples" in page
    assert "Delivered is epoch 3, the best on the validation samples (30.00 %)." in " ".join(
        page.split()
    )
    assert "Confusion matrix" in page
    assert '<td class="number wrong share-9">4</td>' in page
    assert "66.67 %" in page  # over the classes


@pytest.mark.parametrize(
    ("best", "said"),
    [
        (None, "the last one: no samples were kept"),
        (2, "the last one, as asked; on the validation"),
    ],
)
def test_the_page_says_why_the_last_epoch_was_delivered(
    server: Server, tmp_path: Path, best: int | None, said: str
) -> None:
    page = finished(server, tmp_path, report_of(31), best_epoch=best, delivered_epoch=3)
    assert said in page
    assert "What was taken for what most often" in page


def test_the_page_marks_automatic_settings(server: Server) -> None:
    job = server.submit(batch_size=16)
    page = " ".join(server.http.get(job["urls"]["page"], headers=PAGE).text.split())
    epochs = job["specification"]["epochs"]
    assert f'<dt>Epochs</dt><dd>{epochs} <span class="soft">(auto)</span>' in page
    assert "<dt>Batch</dt><dd>16</dd>" in page
    assert 'fitted to the data <span class="soft">(auto)</span>' in page


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"network": {"name": "mlp"}, "method": {"name": "saf-e"}},
        {"optimizer": {"name": "adamw"}, "max_gradient_norm": None, "batch_size": 16},
    ],
)
def test_a_job_that_is_copied_from_its_page_is_the_same(
    server: Server, given: dict[str, Any]
) -> None:
    job = server.submit(name="it's <b>", **given)
    page = server.http.get(job["urls"]["page"], headers=PAGE).text
    shown = page.partition('id="again-curl"')[2].partition(">")[2].partition("</pre>")[0]
    *_, body = shlex.split(html.unescape(shown).replace("\\\n", ""))
    again = server.http.post("/v1/jobs?validate_only=true", json=json.loads(body)).json()
    assert again["specification"] == job["specification"]
