"""What belongs to whom: lists, references, streams, keys of requests, and what was there before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import select, text

from api.store.accounts import users
from api.store.database import Database
from api.store.migrate import migrate
from api.store.soundness import unsound_rows
from api.store.tables.jobs import Job, Sweep
from api.store.tables.uploads import Dataset
from tests.api.accounts.people import Lab, opened, with_keys
from tests.api.conftest import Server, serving


def ids(lab: Lab, who: str, path: str) -> set[str]:
    return {entry["id"] for entry in lab.ask(who, "GET", path).json()["data"]}


def test_lists_have_what_one_sees_and_mine_what_is_ones_own(own_lab: Lab) -> None:
    job = own_lab.things["job"]
    of_sweeps = "/v1/jobs?limit=200"
    assert job["ottos"] not in ids(own_lab, "mia", of_sweeps)
    assert {job["mias"], job["shared"]} <= ids(own_lab, "mia", of_sweeps)
    assert ids(own_lab, "vera", "/v1/jobs?mine=true") == set()
    seen = ids(own_lab, "vera", of_sweeps)
    assert (job["shared"] in seen, job["mias"] in seen) == (True, False)
    assert ids(own_lab, "ada", "/v1/jobs?project=vision&limit=200") == seen
    assert len(ids(own_lab, "root", of_sweeps)) == 9
    sweep, dataset = own_lab.things["sweep"], own_lab.things["dataset"]
    assert ids(own_lab, "vera", "/v1/sweeps") == {sweep["shared"]}
    assert ids(own_lab, "mia", "/v1/sweeps?mine=true") == {sweep["mias"], sweep["shared"]}
    assert ids(own_lab, "vera", "/v1/datasets?project=vision") == {dataset["shared"]}
    assert ids(own_lab, "otto", "/v1/datasets") == {"digits", dataset["ottos"]}
    nothing = own_lab.ask("mia", "GET", "/v1/jobs?project=audio")
    assert (nothing.status_code, nothing.json()["detail"]) == (404, "there is no project audio")


def test_a_document_says_owner_and_project(own_lab: Lab) -> None:
    shared = own_lab.ask("vera", "GET", f"/v1/jobs/{own_lab.things['job']['shared']}").json()
    assert (shared["owner"], shared["project"]) == ("mia", "vision")
    alone = own_lab.ask("mia", "GET", f"/v1/sweeps/{own_lab.things['sweep']['mias']}").json()
    assert (alone["owner"], alone["project"]) == ("mia", None)


def test_what_others_have_is_nothing_that_a_request_can_name(own_lab: Lab) -> None:
    job, dataset = own_lab.things["job"], own_lab.things["dataset"]
    by_id = own_lab.ask("vera", "POST", "/v1/jobs", json={"dataset": dataset["mias"]})
    assert by_id.json()["detail"].startswith(f"there is no data set '{dataset['mias']}'")
    by_name = own_lab.ask("vera", "POST", "/v1/jobs", json={"dataset": "set of mias"})
    assert by_name.json()["detail"].startswith("there is no data set 'set of mias'")
    init = {"dataset": "digits", "init": {"job": job["mias"]}}
    started = own_lab.ask("vera", "POST", "/v1/jobs", json=init)
    assert f"there is no job {job['mias']}" in started.json()["detail"]
    network = own_lab.things["network"]["mias"]
    init = {"dataset": "digits", "init": {"network": network}}
    started = own_lab.ask("vera", "POST", "/v1/jobs", json=init)
    assert f"there is no uploaded network {network}" in started.json()["detail"]
    compared = own_lab.ask("vera", "GET", f"/v1/comparison?jobs={job['mias']},{job['shared']}")
    assert compared.json()["missing"] == [job["mias"]]
    upload = {"upload": own_lab.things["upload"]["mias"]}
    taken = own_lab.ask("vera", "POST", "/v1/datasets", json=upload)
    assert (taken.status_code, "there is no upload" in taken.text) == (404, True)


def test_a_viewer_makes_nothing_in_the_project_and_a_member_does(own_lab: Lab) -> None:
    body = {"dataset": "digits"}
    for who, project, status in (
        ("vera", "vision", 403),
        ("mia", "vision", 201),
        ("mia", "audio", 422),
        ("root", "audio", 201),
    ):
        sent = {"saf-project": project}
        answer = own_lab.ask(who, "POST", "/v1/jobs", json=body, headers=sent)
        assert answer.status_code == status, (who, project, answer.text)


def test_the_line_of_waiting_jobs_counts_those_of_others(own_lab: Lab) -> None:
    first = own_lab.job("otto")
    second = own_lab.job("mia")
    assert own_lab.ask("mia", "GET", f"/v1/jobs/{second}").json()["jobs_ahead"] == 1
    assert own_lab.ask("mia", "GET", f"/v1/jobs/{first}").status_code == 404


def test_a_data_set_that_somebody_elses_job_needs_is_not_deleted(own_lab: Lab) -> None:
    dataset = own_lab.things["dataset"]["shared"]
    with own_lab.server.service.database.writing() as session:
        for row in session.query(Job).filter(Job.dataset_id == dataset):
            row.owner_id, row.project_id = "usr_else", None
    refused = own_lab.ask("ada", "DELETE", f"/v1/datasets/{dataset}")
    assert (refused.status_code, "is needed by" in refused.text) == (409, True)


def test_an_idempotency_key_is_of_one_user(own_lab: Lab) -> None:
    sent = {"idempotency-key": "monday"}
    body = {"dataset": "digits"}
    made = [
        own_lab.ask(who, "POST", "/v1/jobs", json=body, headers=sent)
        for who in ("mia", "otto", "mia")
    ]
    assert [answer.status_code for answer in made] == [201, 201, 200]
    assert made[0].json()["id"] == made[2].json()["id"] != made[1].json()["id"]
    other = own_lab.ask("mia", "POST", "/v1/jobs", json={**body, "epochs": 1}, headers=sent)
    assert "'monday of mia' was used for another request" in other.json()["detail"]


def test_a_retry_stays_in_the_project_of_a_member_and_is_a_viewers_own(own_lab: Lab) -> None:
    job = own_lab.things["job"]["shared"]
    with own_lab.server.service.database.writing() as session:
        row = session.get(Job, job)
        assert row is not None
        row.status, row.dataset_id = "cancelled", None
    for who, project in (("ada", "vision"), ("vera", None)):
        again = own_lab.ask(who, "POST", f"/v1/jobs/{job}/retry").json()
        assert (again["owner"], again["project"]) == (who, project)


def test_the_stream_of_the_list_tells_of_ones_own_alone(own_lab: Lab) -> None:
    key = {"authorization": f"Bearer {own_lab.keys['vera']}"}
    with own_lab.server.stream("/v1/stream", **key) as stream:
        _, event, data = next(stream.messages())
    assert event == "job"
    assert data["id"] in ids(own_lab, "vera", "/v1/jobs?limit=200")


def test_a_stream_ends_once_its_key_is_revoked(
    own_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.accounts.guard.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("api.jobs.live.COMMENT_SECONDS", 0.2)
    made = own_lab.ask("mia", "POST", "/v1/keys", json={"name": "for a while"}).json()
    path = f"/v1/jobs/{own_lab.things['job']['mias']}/events"
    key = {"authorization": f"Bearer {made['secret']}"}
    with own_lab.server.stream(path, **key) as stream:
        messages = stream.messages()
        next(messages)
        own_lab.ask("mia", "DELETE", f"/v1/keys/{made['id']}")
        assert [event for _, event, _ in messages if event == "done"] == []


def test_what_was_there_before_accounts_belongs_to_the_first_admin(
    tmp_path: Path, database_url: str
) -> None:
    """A database of the version before, with a job, a data set and a sweep."""
    database = Database(database_url)
    migrate(database, to="0016")
    empty = json.dumps({})
    with database.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO jobs (id, name, folded_name, specification, method, network, dataset, "
                "priority, parameters, memory_bytes, status, attempt, losses, created_at, "
                "queued_at, step, epoch, started_step, latest, events_count, version) VALUES "
                "('job_old', 'old', 'old', :none, 'saf-f', 'convnet', 'digits', 0, 1, 1, "
                "'cancelled', 0, 0, 1, 1, 0, 0, 0, :none, 0, 0)"
            ),
            {"none": empty},
        )
        connection.execute(
            text(
                "INSERT INTO sweeps (id, name, request, request_sha256, created_at) VALUES "
                "('swp_old', 'old', :none, 'x', 1)"
            ),
            {"none": empty},
        )
        connection.execute(
            text(
                "INSERT INTO datasets (id, name, format, status, problems, upload_bytes, "
                "created_at) VALUES ('ds_old', 'old', 'auto', 'invalid', '[]', 1, 1)"
            )
        )
    database.dispose()
    with serving(with_keys(tmp_path, database_url)) as server:
        opened(server)
        check_owners(server)


def check_owners(server: Server) -> None:
    with server.service.database.reading() as s:
        admin = users.find(s, "admin")
        owners = [
            s.scalar(select(table.owner_id).where(table.id == id_))
            for table, id_ in ((Job, "job_old"), (Sweep, "swp_old"), (Dataset, "ds_old"))
        ]
        assert owners == 3 * [admin.id]


def test_rows_of_accounts_are_sound_to_saf_scrub(own_lab: Lab) -> None:
    own_lab.ask("mia", "POST", f"/v1/jobs/{own_lab.things['job']['mias']}/cancel")
    with own_lab.server.service.database.engine.connect() as connection:
        assert list(unsound_rows(connection)) == []
