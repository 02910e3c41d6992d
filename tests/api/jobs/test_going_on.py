"""Jobs that train a finished job further, and jobs that start with the weights of another."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api.maintenance.retention import Retention
from api.store.jobs import lifecycle, progress
from api.store.jobs.leases import Claim
from api.store.runs import artifacts
from api.store.tables.base import Blob
from api.store.tables.jobs import Job
from api.store.tables.results import Checkpoint
from tests.api.conftest import Server
from tests.api.jobs.test_retry import fail, first_line, held, leave_checkpoints

EPOCHS, PER_EPOCH = 4, 10
ORIGIN = -1


def finish(server: Server, directory: Path, step: int = 40, **asked: Any) -> dict[str, Any]:
    """A job that has succeeded, at the end of epoch `step` / 10 of 4, with its last checkpoints."""
    job = server.submit(epochs=EPOCHS, **asked)
    claim = server.run(steps_total=EPOCHS * PER_EPOCH)
    end(server, claim, directory, step)
    return server.get(job["urls"]["self"])


def end(server: Server, claim: Claim, directory: Path, step: int) -> None:
    leave_checkpoints(server, claim, directory, step - PER_EPOCH, step)
    with server.service.database.writing() as session:
        progress.trained(
            session, claim, step=step, epoch=step / PER_EPOCH, latest={}, best_accuracy=0.75
        )
        stored = session.query(Checkpoint).filter_by(job_id=claim.job_id, step=step).one()
        artifacts.register(
            session,
            job_id=claim.job_id,
            name="checkpoint.safetensors",
            kind="checkpoint",
            sha256=stored.sha256,
        )
        lifecycle.succeed(session, claim)


def go_on(server: Server, job: dict[str, Any], **more: Any) -> dict[str, Any]:
    response = server.http.post(f"{job['urls']['self']}/continue", json={"epochs": 3, **more})
    assert response.status_code == 201, response.text
    new: dict[str, Any] = response.json()
    assert response.headers["location"] == new["urls"]["self"]
    return new


def refused(server: Server, path: str, body: dict[str, Any], status: int) -> str:
    response = server.http.post(path, json=body)
    assert response.status_code == status, response.text
    detail: str = response.json()["detail"]
    return detail


def upload(server: Server, name: str, classes: int, *shape: int) -> str:
    content = io.BytesIO()
    y = np.arange(24) % classes
    x = np.random.default_rng(0).integers(0, 255, (24, *shape)).astype(np.uint8)
    np.savez(content, x_train=x, y_train=y, x_test=x, y_test=y)
    file = {"file": (f"{name}.npz", content.getvalue())}
    response = server.http.post("/v1/datasets", files=file, data={"name": name})
    assert response.status_code == 201, response.text
    return name


# More epochs


def test_a_finished_job_is_trained_further_by_a_new_job(server: Server, tmp_path: Path) -> None:
    old = finish(server, tmp_path, name="first", seed=7)
    new = go_on(server, old)
    assert (new["continues"], new["retry_of"], new["retry_from_step"]) == (old["id"], None, 40)
    progress = new["progress"]
    assert (progress["step"], progress["steps_total"], progress["epoch"]) == (40, 70, 4.0)
    assert new["best_accuracy"] == 0.75
    changed = {"epochs": 7, "schedule": {**old["specification"]["schedule"], "start_epoch": 4}}
    kept = [place for place in old["specification"]["automatic"] if place != "/epochs"]
    assert new["specification"] == old["specification"] | changed | {"automatic": kept}
    told = f"goes on for 3 more epochs from step 40, the end of {old['id']}"
    assert first_line(server, new) == told
    assert held(server, new) == [(40, ORIGIN, held(server, old)[-1][2])]
    assert server.get(old["urls"]["self"]) == old
    assert old["id"] in server.http.get(new["urls"]["page"]).text


@pytest.mark.slow
def test_what_may_be_another_in_the_further_epochs(server: Server, tmp_path: Path) -> None:
    old = finish(server, tmp_path, patience=2, name="first", schedule={"warmup_epochs": 2})
    new = go_on(
        server,
        old,
        learning_rate=0.001,
        schedule={"name": "constant", "warmup_epochs": 0.5},
        patience=None,
        name="second",
    )
    specification = new["specification"]
    assert specification["optimizer"]["learning_rate"] == 0.001
    schedule = {"name": "constant", "warmup_epochs": 0.5, "start_epoch": 4}
    assert specification["schedule"] == schedule
    assert (specification["patience"], new["name"]) == (None, "second")
    plain = go_on(server, old)["specification"]
    assert (plain["patience"], plain["schedule"]["warmup_epochs"]) == (2, 0.0)


def test_a_job_that_ended_early_goes_on_from_where_it_ended(server: Server, tmp_path: Path) -> None:
    old = finish(server, tmp_path, step=20, patience=1)
    new = go_on(server, old, epochs=1)
    assert new["specification"]["epochs"] == 3
    assert new["specification"]["schedule"]["start_epoch"] == 2
    assert (new["progress"]["step"], new["progress"]["steps_total"]) == (20, 30)


def test_a_continuation_can_be_continued(server: Server, tmp_path: Path) -> None:
    second = go_on(server, finish(server, tmp_path))
    claim = server.run(step=40, steps_total=70)
    end(server, claim, tmp_path, 70)
    third = go_on(server, second, epochs=2)
    assert third["continues"] == second["id"]
    assert third["specification"]["epochs"] == 9
    assert third["specification"]["schedule"]["start_epoch"] == 7
    assert third["progress"]["steps_total"] == 90


def test_the_same_key_continues_a_job_once(server: Server, tmp_path: Path) -> None:
    old = finish(server, tmp_path)
    path, key = f"{old['urls']['self']}/continue", {"Idempotency-Key": "once"}
    first = server.http.post(path, json={"epochs": 3}, headers=key)
    again = server.http.post(path, json={"epochs": 3}, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    other = server.http.post(path, json={"epochs": 4}, headers=key)
    assert other.status_code == 409
    assert "use a new key" in other.json()["detail"]


def test_only_a_job_that_has_succeeded_is_trained_further(server: Server) -> None:
    waiting = server.submit()
    path = f"{waiting['urls']['self']}/continue"
    assert "wait for its end" in refused(server, path, {"epochs": 1}, 409)
    fail(server, server.run(), "worker_lost")
    assert "is failed; only a job that has succeeded" in refused(server, path, {"epochs": 1}, 409)
    assert "retry it" in refused(server, path, {"epochs": 1}, 409)
    refused(server, "/v1/jobs/job_none/continue", {"epochs": 1}, 404)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "epochs"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": 99_999}, "4 epochs are done"),
        ({"epochs": 1, "learning_rate": 0}, "learning_rate"),
        ({"epochs": 1, "schedule": {"start_epoch": 2}}, "start_epoch"),
        ({"epochs": 1, "seed": 3}, "seed"),
        ({"epochs": 1, "name": "a\x00b"}, "name"),
    ],
)
def test_a_wrong_continuation_is_told_with_its_field(
    server: Server, tmp_path: Path, body: dict[str, Any], said: str
) -> None:
    old = finish(server, tmp_path)
    assert said in refused(server, f"{old['urls']['self']}/continue", body, 422)


def test_a_job_goes_on_from_its_artifact_where_its_checkpoints_were_removed(
    server: Server, tmp_path: Path
) -> None:
    old = finish(server, tmp_path)
    sha256 = held(server, old)[-1][2]
    with server.service.database.writing() as session:
        session.query(Checkpoint).delete()
    assert held(server, go_on(server, old)) == [(40, ORIGIN, sha256)]


@pytest.mark.slow
def test_a_job_whose_files_were_removed_or_are_damaged_is_refused_in_words(
    server: Server, tmp_path: Path
) -> None:
    old = finish(server, tmp_path)
    with server.service.database.writing() as session:
        session.query(Blob).update({Blob.damaged_at: 1.0})
    path = f"{old['urls']['self']}/continue"
    assert "removed or are damaged" in refused(server, path, {"epochs": 1}, 409)
    with server.service.database.writing() as session:
        session.query(Blob).update({Blob.damaged_at: None})
    settings = server.service.settings.model_copy(update={"retain_artifacts_days": 1e-9})
    removed = [
        item.remove()
        for item in Retention(server.service.database, server.service.store, settings).find()
    ]
    assert any(removed)
    assert "removed or are damaged" in refused(server, path, {"epochs": 1}, 409)


def test_what_a_job_goes_on_from_stays_whatever_becomes_of_the_other(
    server: Server, tmp_path: Path
) -> None:
    old = finish(server, tmp_path)
    new = go_on(server, old)
    sha256 = held(server, new)[0][2]
    assert server.http.delete(old["urls"]["self"]).status_code == 204
    claim = server.run(step=40, steps_total=70)
    leave_checkpoints(server, claim, tmp_path, 50, 60, 70)
    assert [(step, attempt) for step, attempt, _ in held(server, new)] == [
        (40, ORIGIN),
        (60, 1),
        (70, 1),
    ]
    assert server.files.path(sha256).exists()
    assert server.get(new["urls"]["self"])["checkpoint_step"] == 70


def test_a_retry_of_a_continuation_never_begins_before_it(server: Server, tmp_path: Path) -> None:
    old = finish(server, tmp_path)
    new = go_on(server, old)
    claim = server.run(step=40, steps_total=70)
    leave_checkpoints(server, claim, tmp_path, 50, 60)
    fail(server, claim, "internal")
    again = server.http.post(f"{new['urls']['self']}/retry").json()
    assert (again["continues"], again["retry_of"]) == (old["id"], new["id"])
    assert (again["progress"]["step"], again["retry_from_step"]) == (60, 60)
    anew = server.http.post(f"{new['urls']['self']}/retry?from_start=true").json()
    assert (anew["progress"]["step"], anew["retry_from_step"]) == (40, 40)
    told = f"begins at step 40, the end of {old['id']}, not where {new['id']} ended: as asked"
    assert first_line(server, anew) == told
    assert [row[:2] for row in held(server, anew)] == [(40, ORIGIN)]
    with server.service.database.writing() as session:
        session.query(Checkpoint).filter_by(job_id=new["id"]).delete()
    path = f"{new['urls']['self']}/retry"
    assert f"continue job {old['id']} again" in refused(server, path, {}, 409)


def test_a_job_cannot_say_itself_that_it_goes_on(server: Server) -> None:
    body = {"dataset": "digits", "schedule": {"start_epoch": 3}}
    assert "/continue makes" in refused(server, "/v1/jobs", body, 422)
    sweep = {"job": body, "over": {"/seed": [0, 1]}}
    assert "/continue makes" in refused(server, "/v1/sweeps", sweep, 422)


# The weights of another job


def test_a_job_keeps_the_checkpoint_that_it_starts_from(server: Server, tmp_path: Path) -> None:
    old = finish(server, tmp_path)
    new = server.submit(init={"job": old["id"], "freeze": ["layer1"]})
    sha256 = held(server, old)[-1][2]
    assert held(server, new) == [(0, ORIGIN, sha256)]
    assert first_line(server, new) == f"starts with the weights of {old['id']}"
    assert (new["progress"]["step"], new["retry_from_step"], new["checkpoint_step"]) == (
        0,
        None,
        None,
    )
    assert server.http.delete(old["urls"]["self"]).status_code == 204
    claim = server.run()
    leave_checkpoints(server, claim, tmp_path, 10, 20, 30)
    assert [row[:2] for row in held(server, new)] == [(0, ORIGIN), (20, 1), (30, 1)]
    assert server.files.path(sha256).exists()
    fail(server, claim, "internal")
    again = server.http.post(f"{new['urls']['self']}/retry").json()
    assert [row[:2] for row in held(server, again)] == [(0, ORIGIN), (20, 0), (30, 0)]
    anew = server.http.post(f"{new['urls']['self']}/retry?from_start=true").json()
    assert [row[:2] for row in held(server, anew)] == [(0, ORIGIN)]
    assert f"starts with the weights of {old['id']}" in first_line(server, anew)


def test_every_job_of_a_sweep_keeps_it(server: Server, tmp_path: Path) -> None:
    old = finish(server, tmp_path)
    job = {"dataset": "digits", "init": {"job": old["id"]}}
    over = {"/seed": [0, 1], "/init/freeze": [["layer1"], ["*"]]}
    response = server.http.post("/v1/sweeps", json={"job": job, "over": over})
    assert response.status_code == 201, response.text
    sha256 = held(server, old)[-1][2]
    for row in response.json()["rows"]:
        assert held(server, {"id": row["job"]}) == [(0, ORIGIN, sha256)]


@pytest.mark.slow
def test_other_classes_are_accepted_and_other_samples_are_not(
    server: Server, tmp_path: Path
) -> None:
    old = finish(server, tmp_path)
    init = {"init": {"job": old["id"]}, "epochs": 1}
    server.submit(**init | {"dataset": upload(server, "three", 3, 1, 8, 8)})
    for name, shape in (("larger", (1, 16, 16)), ("coloured", (3, 8, 8))):
        body = init | {"dataset": upload(server, name, 3, *shape)}
        said = refused(server, "/v1/jobs", body, 422)
        assert "/init/job" in said
        assert "one for samples of 1 × 8 × 8, and its weights do not fit" in said
        assert f"samples of {' × '.join(map(str, shape))}" in said


@pytest.mark.parametrize(
    ("change", "pointer", "said"),
    [
        ({"init": {"job": "job_none"}}, "/init/job", "there is no job job_none"),
        ({"network": {"name": "mlp"}}, "/init/job", "it is convnet and not mlp"),
        (
            {"network": {"name": "convnet", "channels": [8]}},
            "/init/job",
            "channels [32, 64, 64] and not [8]",
        ),
        ({"init": {"freeze": ["stage*"]}}, "/init/freeze", "its layers are layer1"),
        ({"init": {"freeze": ["layer*", "readout"]}}, "/init/freeze", "leaves nothing to train"),
        ({"init": {"freeze": ["[\x00l]ayer1"]}}, "/init/freeze/0", "pattern"),
    ],
)
def test_a_start_that_does_not_fit_is_told_before_the_job_is_stored(
    server: Server, tmp_path: Path, change: dict[str, Any], pointer: str, said: str
) -> None:
    old = finish(server, tmp_path)
    body: dict[str, Any] = {"dataset": "digits", **change}
    body["init"] = {"job": old["id"], **change.get("init", {})}
    for query in ("", "?validate_only=true"):
        response = server.http.post(f"/v1/jobs{query}", json=body)
        assert response.status_code == 422, response.text
        (error,) = response.json()["errors"]
        assert error["pointer"] == pointer
        assert said in error["detail"]


@pytest.mark.slow
def test_a_job_without_a_checkpoint_cannot_be_started_from(server: Server, tmp_path: Path) -> None:
    waiting = server.submit()
    body = {"dataset": "digits", "init": {"job": waiting["id"]}}
    assert "is queued and has no checkpoint" in refused(server, "/v1/jobs", body, 422)
    claim = server.run()
    leave_checkpoints(server, claim, tmp_path, 10)
    server.submit(init={"job": waiting["id"]})  # it trains, and has left one
    with server.service.database.writing() as session:
        session.query(Blob).update({Blob.damaged_at: 1.0})
    assert "has no checkpoint" in refused(server, "/v1/jobs", body, 422)


def test_a_start_that_was_removed_with_the_old_job_is_refused_on_retry(
    server: Server, tmp_path: Path
) -> None:
    old = finish(server, tmp_path)
    new = server.submit(init={"job": old["id"]})
    fail(server, server.run(), "internal")
    server.http.delete(old["urls"]["self"])
    retried = server.http.post(f"{new['urls']['self']}/retry")
    assert retried.status_code == 201  # it has kept its own
    with server.service.database.writing() as session:
        session.query(Checkpoint).filter_by(job_id=new["id"]).delete()
    path = f"{new['urls']['self']}/retry"
    assert f"there is no job {old['id']}" in refused(server, path, {}, 422)


def test_a_row_of_what_a_job_starts_from_is_sound(server: Server, tmp_path: Path) -> None:
    from api.store.soundness import unsound_rows

    server.submit(init={"job": finish(server, tmp_path)["id"]})
    with server.service.database.reading() as session:
        assert list(unsound_rows(session.connection())) == []
        assert session.query(Job).count() == 2


# Pages


def test_the_page_of_a_finished_job_offers_both(server: Server, tmp_path: Path) -> None:
    old = finish(server, tmp_path, name="first")
    page = server.http.get(old["urls"]["page"]).text
    assert "Train for more epochs" in page
    assert f"/new?init={old['id']}" in page
    form = server.http.get(f"/new?init={old['id']}").text
    assert 'data-pointer="/init/job"' in form
    assert f'value="{old["id"]}"' in form
    assert 'data-pointer="/schedule/start_epoch"' not in form
    waiting = server.submit()
    assert "Train for more epochs" not in server.http.get(waiting["urls"]["page"]).text


def test_the_same_job_once_more_does_not_say_that_it_goes_on(
    server: Server, tmp_path: Path
) -> None:
    new = go_on(server, finish(server, tmp_path))
    page = server.http.get(new["urls"]["page"]).text
    curl = page[page.index("curl -s") : page.index("curl -s") + 600]
    assert "start_epoch" not in curl


def test_the_network_of_a_job_is_not_named_as_remedy_where_it_cannot_take_the_samples(
    server: Server, tmp_path: Path
) -> None:
    """Series start from no convnet, and a job that asks for one is refused, too."""
    old = finish(server, tmp_path)
    content = io.BytesIO()
    x = np.random.default_rng(0).normal(size=(24, 12, 3))
    y = np.arange(24) % 2
    np.savez(content, x_train=x, y_train=y, x_test=x[:6], y_test=y[:6])
    file = {"file": ("s.npz", content.getvalue())}
    sent = server.http.post("/v1/datasets", files=file, data={"name": "series"})
    assert sent.status_code == 201
    body = {"dataset": "series", "init": {"job": old["id"]}}
    said = refused(server, "/v1/jobs", body, 422)
    assert "its convnet takes images" in said
    assert said.endswith("start from a job on samples like these, or leave init out")
