from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session

from api.jobs import routes as jobs
from api.store.jobs import lifecycle
from api.store.jobs.leases import Claim
from api.store.runs import checkpoints
from api.store.tables.results import Checkpoint
from api.store.tables.uploads import Dataset
from tests.api.conftest import Server


def leave_checkpoints(server: Server, claim: Claim, directory: Path, *steps: int) -> dict[int, str]:
    """What a worker keeps of a training, as step and hash."""
    kept = {}
    for step in steps:
        path = directory / f"checkpoint-{step}"
        path.write_text(f"{claim.job_id} at {step}")
        incoming = server.service.store.receive(path)
        with server.service.database.writing() as session:
            kept[step] = server.service.store.keep(session, incoming)
            checkpoints.add(session, claim, step=step, sha256=kept[step])
    return kept


def fail(server: Server, claim: Claim, code: str) -> None:
    with server.service.database.writing() as session:
        lifecycle.fail(session, claim, code=code, message="it ended", hint="try again")


def retry(server: Server, job: dict[str, Any], query: str = "") -> dict[str, Any]:
    response = server.http.post(f"{job['urls']['self']}/retry{query}")
    assert response.status_code == 201, response.text
    new: dict[str, Any] = response.json()
    return new


def first_line(server: Server, job: dict[str, Any]) -> str:
    text: str = server.get(job["urls"]["events"])["data"][0]["data"]["text"]
    return text


def held(server: Server, job: dict[str, Any]) -> list[tuple[int, int, str]]:
    with server.service.database.reading() as session:
        rows = session.query(Checkpoint).filter_by(job_id=job["id"]).order_by(Checkpoint.step)
        return [(row.step, row.attempt, row.sha256) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("code", ["worker_lost", "time_limit", "out_of_memory", "internal"])
def test_a_retry_goes_on_from_the_last_checkpoint_of_a_job_that_was_stopped_from_outside(
    server: Server, tmp_path: Path, code: str
) -> None:
    old = server.submit(epochs=4)
    claim = server.run(steps_total=40)
    kept = leave_checkpoints(server, claim, tmp_path, 10, 20)
    fail(server, claim, code)
    new = retry(server, old)
    assert (new["retry_of"], new["retry_from_step"]) == (old["id"], 20)
    assert (new["progress"]["step"], new["progress"]["epoch"]) == (20, 2.0)
    assert first_line(server, new) == f"goes on from step 20, the last checkpoint of {old['id']}"
    assert held(server, new) == [(10, 0, kept[10]), (20, 0, kept[20])]


@pytest.mark.parametrize("code", ["diverged", "silent_network", "user_config", "data"])
def test_a_retry_begins_anew_where_the_checkpoint_would_bring_the_error_back(
    server: Server, tmp_path: Path, code: str
) -> None:
    old = server.submit()
    claim = server.run()
    leave_checkpoints(server, claim, tmp_path, 10)
    fail(server, claim, code)
    new = retry(server, old)
    assert (new["retry_from_step"], new["progress"]["step"], held(server, new)) == (None, 0, [])
    assert first_line(server, new).startswith("begins anew")
    assert code in first_line(server, new)


def test_a_retry_begins_anew_when_asked_or_without_a_checkpoint(
    server: Server, tmp_path: Path
) -> None:
    old = server.submit()
    claim = server.run()
    leave_checkpoints(server, claim, tmp_path, 10)
    fail(server, claim, "internal")
    assert retry(server, old, "?from_start=true")["retry_from_step"] is None
    server.http.post(f"{retry(server, old)['urls']['self']}/cancel")
    bare = server.submit()
    server.http.post(f"{bare['urls']['self']}/cancel")
    assert "it left no checkpoint" in first_line(server, retry(server, bare))


def test_deleting_the_old_job_leaves_the_retry_its_checkpoint(
    server: Server, tmp_path: Path
) -> None:
    old = server.submit()
    claim = server.run()
    kept = leave_checkpoints(server, claim, tmp_path, 10)
    server.http.post(f"{old['urls']['self']}/cancel")
    with server.service.database.writing() as session:
        lifecycle.stopped(session, claim)
    new = retry(server, old)
    assert server.http.delete(old["urls"]["self"]).status_code == 204
    assert server.files.path(kept[10]).read_text() == f"{old['id']} at 10"
    server.http.post(f"{new['urls']['self']}/cancel")
    assert server.http.delete(new["urls"]["self"]).status_code == 204
    assert not server.files.path(kept[10]).exists()


@pytest.mark.slow
def test_a_job_says_when_it_is_tried_again(server: Server) -> None:
    job = server.submit()
    claim = server.run()
    with server.service.database.writing() as session:
        lifecycle.try_again(
            session,
            claim,
            code="internal",
            message="the device was lost",
            hint="look at it",
            max_losses=5,
            retry_seconds=60,
        )
    shown = server.get(job["urls"]["self"])
    assert (shown["status"], shown["error"]) == ("recovering", None)
    assert shown["retry_at"] > shown["started_at"]
    last = server.get(job["urls"]["events"])["data"][-1]
    assert last["data"]["retry_in_seconds"] == 60
    assert "The next try is not before" in server.http.get(job["urls"]["page"]).text
    response = server.http.post(f"{job['urls']['self']}/pause")
    assert response.json()["retry_at"] is None
    assert server.http.post(f"{job['urls']['self']}/resume").json()["status"] == "queued"


@pytest.mark.slow
def test_a_retry_beside_the_deletion_of_its_data_set_looks_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL the data set may go after it was looked up; here it goes in the transaction."""
    content = io.BytesIO()
    x, y = np.zeros((4, 1, 8, 8), np.uint8), np.array([0, 1, 0, 1])
    np.savez(content, x_train=x, y_train=y, x_test=x, y_test=y)
    uploaded = server.http.post("/v1/datasets", files={"file": ("x.npz", content.getvalue())})
    assert uploaded.status_code == 201, uploaded.text
    old = server.submit(dataset=uploaded.json()["id"])
    fail(server, server.run(), "internal")
    check, tries = jobs.check_jobs, []  # type: ignore[attr-defined]

    def check_and_delete(session: Session, *others: Any, **more: Any) -> None:
        check(session, *others, **more)
        tries.append(others)
        if len(tries) == 1:
            session.execute(delete(Dataset).execution_options(synchronize_session=False))

    monkeypatch.setattr(jobs, "check_jobs", check_and_delete)
    assert retry(server, old)["specification"] == old["specification"]
    assert len(tries) == 2
