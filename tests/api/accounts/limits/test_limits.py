"""Limits of users and projects: said by an admin, told with what is used, met with a number."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api.datasets.room import lacking
from api.errors import TooManyError
from api.jobs.schemas import OWNER_AT_LIMIT
from api.store.database import clock
from api.store.datasets import count_alone
from api.store.jobs import exports
from api.store.limits.tables import Attempt
from api.store.tables.base import Blob
from api.store.tables.jobs import Job, Status
from api.store.tables.results import Artifact, Checkpoint, Export
from api.store.tables.uploads import Dataset, UploadedNetwork
from api.web.limits import check_export
from tests.api.accounts.people import Lab, make_lab, with_keys
from tests.api.conftest import serving

DIGITS = {"dataset": "digits"}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("limits")
    url = f"sqlite:///{directory / 'limits.sqlite3'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").create_database(f"limits_{directory.name}")
    with serving(with_keys(directory, url, jobs_running_per_project=7)) as server:
        yield make_lab(server)


def say(lab: Lab, path: str, **limits: float | None) -> None:
    answer = lab.ask("root", "PATCH", path, json={"limits": limits})
    assert answer.status_code == 200, answer.text


def told(lab: Lab, who: str, of: str, **params: str) -> dict[str, Any]:
    found = lab.ask(who, "GET", "/v1/limits", params=params).json()["data"]
    return {one["name"]: one for one in found if one["of"] == of}


def submit(lab: Lab, who: str, project: str = "", key: str = "") -> Any:
    headers = {"saf-project": project} if project else {}
    headers |= {"idempotency-key": key} if key else {}
    return lab.ask(who, "POST", "/v1/jobs", json=DIGITS, headers=headers)


def test_limits_are_told_with_what_is_used_and_by_whom_they_were_said(lab: Lab) -> None:
    say(lab, "/v1/users/mia", device_hours=12.5, jobs_waiting=0)
    own = told(lab, "mia", "mia")
    assert (own["device_hours"]["most"], own["device_hours"]["is_default"]) == (12.5, False)
    assert (own["device_hours"]["within_days"], own["jobs_waiting"]["most"]) == (30, None)
    assert (own["jobs_running"]["used"], own["jobs_running"]["most"]) == (6, None)
    assert (own["requests"]["most"], own["requests"]["is_default"]) == (6000, True)
    assert 0 < own["device_hours"]["used"] < 1
    vision = told(lab, "vera", "vision", project="vision")
    assert (vision["jobs_running"]["most"], vision["jobs_running"]["used"]) == (7, 3)
    assert "uploads" not in vision
    of_hers = told(lab, "mia", "vision")  # one's projects are among one's limits
    assert (of_hers.keys(), of_hers["jobs_running"]) == (vision.keys(), vision["jobs_running"])
    assert told(lab, "root", "otto", user="otto")["jobs_running"]["used"] == 3
    assert lab.ask("mia", "GET", "/v1/limits", params={"user": "otto"}).status_code == 403
    assert lab.ask("mia", "GET", "/v1/limits", params={"project": "audio"}).status_code == 404
    say(lab, "/v1/users/mia", device_hours=None, jobs_waiting=None)
    assert told(lab, "mia", "mia")["device_hours"]["is_default"]
    for path, name, most in (
        ("/v1/users/mia", "gpus", 1),
        ("/v1/projects/vision", "uploads", 1),
        ("/v1/users/mia", "uploads", 0.5),  # not 0, which is any number
        ("/v1/users/mia", "requests", 0.5),
    ):
        refused = lab.ask("root", "PATCH", path, json={"limits": {name: most}})
        assert refused.status_code == 422


def test_an_admin_says_limits_on_a_page(lab: Lab) -> None:
    path = "/account/limits/users/otto"
    account = lab.ask("root", "GET", "/account").text
    assert path in account
    assert "/account/limits/projects/audio" in account
    assert "/account/limits" not in lab.ask("otto", "GET", "/account").text
    form = {"stored_bytes": "1.5 GiB", "jobs_waiting": "0", "device_hours": "2.5", "uploads": ""}
    assert lab.ask("root", "POST", path, data=form).status_code == 303
    found = told(lab, "otto", "otto")
    assert (found["stored_bytes"]["most"], found["device_hours"]["most"]) == (1.5 * 2**30, 2.5)
    assert (found["jobs_waiting"]["most"], found["jobs_waiting"]["is_default"]) == (None, False)
    assert found["uploads"]["is_default"]
    page = lab.ask("root", "GET", path).text
    assert 'value="1536 MiB"' in page
    assert "For all: 256 GiB." in page
    for odd in ({"uploads": "many"}, {"uploads": "0.5"}, {"streams": "-1"}, {"requests": "nan"}):
        refused = lab.ask("root", "POST", path, data=odd)
        assert (refused.status_code, 'role="alert"' in refused.text) == (422, True), odd
    assert told(lab, "otto", "otto")["uploads"]["is_default"]
    project = "/account/limits/projects/audio"
    assert lab.ask("root", "POST", project, data={"jobs_running": "9"}).status_code == 303
    assert told(lab, "otto", "audio")["jobs_running"]["most"] == 9
    for each in (path, project):
        assert lab.ask("otto", "POST", each, data=form).status_code == 403
        gone = lab.ask("root", "POST", each, data=dict.fromkeys((*form, "jobs_running"), ""))
        assert gone.status_code == 303
    assert told(lab, "otto", "otto")["stored_bytes"]["is_default"]


def test_a_job_says_that_a_limit_holds_it_back(lab: Lab) -> None:
    say(lab, "/v1/projects/vision", jobs_running=3)
    job = submit(lab, "ada", "vision").json()
    assert "3 jobs run of the project vision, and 3 at once are the limit" in job["waits_for"]
    html = lab.ask("mia", "GET", f"/jobs/{job['id']}", headers={"accept": "text/html"}).text
    assert "It waits: 3 jobs run of the project vision" in html
    with pytest.raises(AssertionError):
        lab.server.claim()
    say(lab, "/v1/projects/vision", jobs_running=4)
    assert lab.ask("ada", "GET", f"/v1/jobs/{job['id']}").json()["waits_for"] is None
    assert lab.server.claim().job_id == job["id"]
    say(lab, "/v1/projects/vision", jobs_running=None)


def test_what_the_owner_of_a_job_has_used_is_told_to_them_and_to_admins_alone(lab: Lab) -> None:
    say(lab, "/v1/users/ada", device_hours=0.0001)
    job = submit(lab, "ada", "vision").json()
    with lab.server.service.database.writing() as session:
        owner = session.get_one(Job, job["id"]).owner_id
        at = clock(session)
        took = {"job_id": "job_before", "attempt": 1, "owner_id": owner}
        session.add(Attempt(**took, began_at=at - 3600, ended_at=at))
    told = {
        who: lab.ask(who, "GET", f"/v1/jobs/{job['id']}").json()["waits_for"]
        for who in ("ada", "root", "mia", "vera")
    }
    assert "ada has used 1.0 of 0.0001 device hours" in told["ada"]
    assert told["root"] == told["ada"]
    assert told["mia"] == told["vera"] == OWNER_AT_LIMIT
    page = lab.ask("mia", "GET", "/", headers={"accept": "text/html"}).text
    assert "ada has used" not in page
    assert OWNER_AT_LIMIT in page
    say(lab, "/v1/users/ada", device_hours=None)
    assert lab.ask("ada", "POST", f"/v1/jobs/{job['id']}/cancel").status_code == 200


def test_jobs_beyond_those_that_may_wait_are_refused_with_the_number(lab: Lab) -> None:
    say(lab, "/v1/users/ada", jobs_waiting=3)
    say(lab, "/v1/projects/vision", jobs_waiting=2)
    first = submit(lab, "ada", "vision", key="first")
    sweep = {"job": DIGITS, "over": {"/seed": [0, 1]}}
    whole = lab.ask("ada", "POST", "/v1/sweeps", json=sweep, headers={"saf-project": "vision"})
    assert (whole.status_code, whole.json()["limit"]) == (
        429, {"name": "jobs_waiting", "of": "vision", "most": 2, "used": 1},
    )  # fmt: skip
    assert "saf projects limit vision --jobs-waiting, by an admin" in whole.json()["detail"]
    assert int(whole.headers["retry-after"]) > 0
    assert lab.ask("ada", "POST", "/v1/sweeps", json=sweep).status_code == 201
    more = submit(lab, "ada")
    assert (more.status_code, more.json()["limit"]["used"]) == (429, 3)
    assert "3 jobs of ada wait already, and 3 are the most" in more.json()["detail"]
    again = submit(lab, "ada", "vision", key="first")  # makes nothing
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    say(lab, "/v1/users/ada", jobs_waiting=None)
    say(lab, "/v1/projects/vision", jobs_waiting=None)


def test_a_job_that_was_paused_meanwhile_waits_again_where_there_is_room(lab: Lab) -> None:
    there = told(lab, "vera", "vera")["jobs_waiting"]["used"]
    say(lab, "/v1/users/vera", jobs_waiting=there + 1)
    first = submit(lab, "vera").json()["id"]
    assert lab.ask("vera", "POST", f"/v1/jobs/{first}/pause").json()["status"] == "paused"
    second = submit(lab, "vera").json()["id"]
    full = lab.ask("vera", "POST", f"/v1/jobs/{first}/resume")
    assert (full.status_code, full.json()["limit"]["name"]) == (429, "jobs_waiting")
    lab.ask("vera", "POST", f"/v1/jobs/{second}/cancel")
    assert lab.ask("vera", "POST", f"/v1/jobs/{first}/resume").json()["status"] == "queued"
    lab.ask("vera", "POST", f"/v1/jobs/{first}/cancel")
    say(lab, "/v1/users/vera", jobs_waiting=None)


def test_a_job_that_somebody_else_resumes_counts_for_whose_it_is(lab: Lab) -> None:
    paused = submit(lab, "mia", "vision").json()["id"]
    lab.ask("mia", "POST", f"/v1/jobs/{paused}/pause")
    other = submit(lab, "mia", "vision").json()["id"]
    there = int(told(lab, "mia", "mia")["jobs_waiting"]["used"])
    say(lab, "/v1/users/mia", jobs_waiting=there)
    refused = {who: lab.ask(who, "POST", f"/v1/jobs/{paused}/resume") for who in ("root", "ada")}
    assert [answer.status_code for answer in refused.values()] == [429, 429]
    assert f"{there} jobs of mia wait already" in refused["root"].json()["detail"]
    assert refused["root"].json()["limit"]["of"] == "mia"
    of_another = refused["ada"].json()  # an admin of the project, who sees no number of hers
    assert "mia, whose job it is" in of_another["detail"]
    assert str(there) not in of_another["detail"]
    assert of_another.get("limit") is None
    say(lab, "/v1/users/mia", jobs_waiting=None)
    in_project = told(lab, "mia", "vision")["jobs_waiting"]["used"]
    say(lab, "/v1/projects/vision", jobs_waiting=in_project)
    full = lab.ask("root", "POST", f"/v1/jobs/{paused}/resume")
    assert (full.status_code, full.json()["limit"]["of"]) == (429, "vision")
    say(lab, "/v1/projects/vision", jobs_waiting=None)
    assert lab.ask("ada", "POST", f"/v1/jobs/{paused}/resume").json()["status"] == "queued"
    for job in (paused, other):
        lab.ask("mia", "POST", f"/v1/jobs/{job}/cancel")


def test_every_way_in_which_a_job_comes_to_wait_is_held_to_the_limit(lab: Lab) -> None:
    ended = submit(lab, "otto").json()["id"]
    lab.ask("otto", "POST", f"/v1/jobs/{ended}/cancel")
    paused = submit(lab, "otto").json()["id"]
    lab.ask("otto", "POST", f"/v1/jobs/{paused}/pause")
    done = submit(lab, "otto").json()["id"]
    with lab.server.service.database.writing() as session:
        session.get_one(Job, done).status = Status.succeeded
    waiting = submit(lab, "otto").json()["id"]
    say(lab, "/v1/users/otto", jobs_waiting=told(lab, "otto", "otto")["jobs_waiting"]["used"])
    ways: list[tuple[str, Any]] = [
        ("/v1/jobs", DIGITS),
        ("/v1/sweeps", {"job": DIGITS, "over": {"/seed": [0]}}),
        (f"/v1/jobs/{ended}/retry", None),
        (f"/v1/jobs/{paused}/resume", None),
        (f"/v1/jobs/{done}/continue", {"epochs": 1}),
    ]
    for path, body in ways:
        answer = lab.ask("otto", "POST", path, json=body)
        assert (answer.status_code, answer.json()["limit"]["name"]) == (429, "jobs_waiting"), path
    say(lab, "/v1/users/otto", jobs_waiting=None)
    lab.ask("otto", "POST", f"/v1/jobs/{waiting}/cancel")
    # Another one makes such a way: it belongs above, or makes nothing wait.
    operations = lab.ask("root", "GET", "/openapi.json").json()["paths"]
    verbs = {path for path, by in operations.items() if "post" in by and "/v1/jobs" in path}
    assert {verb.removeprefix("/v1/jobs") for verb in verbs} - {
        *("", "/{job_id}/retry", "/{job_id}/resume", "/{job_id}/continue"),
        *("/{job_id}/cancel", "/{job_id}/pause", "/{job_id}/exports", "/{job_id}/predict"),
    } == set()


def test_exports_that_wait_are_counted_by_whose_jobs_they_are_of_and_by_project(lab: Lab) -> None:
    inside, outside = submit(lab, "ada", "vision").json()["id"], submit(lab, "ada").json()["id"]
    service = lab.server.service

    def refused(job: str) -> str:
        with service.database.writing() as session:
            try:
                check_export(session, service.settings, session.get_one(Job, job))
            except TooManyError as error:
                return str(error)
        return ""

    with service.database.writing() as session:
        one = exports.submit(session, job_id=inside, target="c", options={}, samples=1).id
    assert refused(inside) == refused(outside) == ""
    say(lab, "/v1/users/ada", jobs_waiting=1)
    assert all("1 exports of ada wait already" in refused(job) for job in (inside, outside))
    say(lab, "/v1/users/ada", jobs_waiting=None)
    say(lab, "/v1/projects/vision", jobs_waiting=1)
    assert "1 exports of vision wait already" in refused(inside)
    assert refused(outside) == ""
    say(lab, "/v1/projects/vision", jobs_waiting=None)
    with service.database.writing() as session:
        exports.remove(session, session.get_one(Export, one))
    for job in (inside, outside):
        lab.ask("ada", "POST", f"/v1/jobs/{job}/cancel")


def test_requests_of_one_moment_do_not_exceed_the_limit(lab: Lab) -> None:
    there = told(lab, "otto", "otto")["jobs_waiting"]["used"]
    say(lab, "/v1/users/otto", jobs_waiting=there + 2)
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda _: submit(lab, "otto").status_code, range(6)))
    assert sorted(found) == [201, 201, 429, 429, 429, 429]
    say(lab, "/v1/users/otto", jobs_waiting=None)


def test_data_sets_are_limited_by_what_they_unpack_to(lab: Lab) -> None:
    say(lab, "/v1/users/mia", stored_bytes=100)
    say(lab, "/v1/projects/vision", stored_bytes=50)
    database = lab.server.service.database
    with database.writing() as session:
        count_alone(session)
        mias = session.get_one(Job, lab.things["job"]["mias"]).owner_id
        alone = Dataset(uploaded_by="mia", owner_id=mias)
        shared = Dataset(owner_id=mias, project_id=lab.things["project"]["shared"])
        settings = lab.server.service.settings
        assert lacking(session, settings, alone, "f" * 64, 80) == ""
        assert "saf users limit mia" in lacking(session, settings, alone, "f" * 64, 101)
        assert "files of jobs of vision take" in lacking(session, settings, shared, "f" * 64, 80)
    say(lab, "/v1/users/mia", stored_bytes=None)


def test_networks_and_files_of_jobs_count_as_stored_and_meet_the_limit(lab: Lab) -> None:
    before = told(lab, "otto", "otto")["stored_bytes"]["used"]
    of_audio = told(lab, "otto", "audio")["stored_bytes"]["used"]
    job = lab.things["job"]["ottos"]
    files = {f"{number:064x}": 1000 * number for number in range(10, 14)}
    artifact, checkpoint, network, data = files
    with lab.server.service.database.writing() as session:
        otto = session.get_one(Job, job).owner_id
        session.add_all(Blob(sha256=s, bytes=b, created_at=1.0) for s, b in files.items())
        session.flush()
        session.add_all(
            [
                Artifact(
                    id="art_x", job_id=job, name="x", kind="report", sha256=artifact, created_at=1.0
                ),
                Checkpoint(job_id=job, step=5, attempt=1, sha256=checkpoint, created_at=1.0),
                # The same content again counts once.
                Checkpoint(job_id=job, step=6, attempt=1, sha256=artifact, created_at=1.0),
                UploadedNetwork(
                    id="net_x", name="x", sha256=network, bytes=1, settings={}, facts={},
                    created_at=1.0, owner_id=otto,
                ),
                Dataset(
                    id="ds_x", name="of otto", format="npz", status="ready", problems=[],
                    upload_bytes=1, sha256=data, created_at=1.0, owner_id=otto,
                ),
            ]
        )  # fmt: skip
    used = told(lab, "otto", "otto")["stored_bytes"]["used"]
    assert used == before + sum(files.values())
    audio = told(lab, "otto", "audio")["stored_bytes"]["used"]
    assert audio == of_audio + files[artifact] + files[checkpoint]
    say(lab, "/v1/users/otto", stored_bytes=used)
    sweep = {"job": DIGITS, "over": {"/seed": [0]}}
    for path, body in (("/v1/jobs", DIGITS), ("/v1/sweeps", sweep)):
        refused = lab.ask("otto", "POST", path, json=body)
        assert (refused.status_code, refused.json()["limit"]["name"]) == (429, "stored_bytes")
        assert "files of jobs of otto take" in refused.json()["detail"]
        assert "saf users limit otto --stored-bytes" in refused.json()["detail"]
    upload = {"file": ("d.npz", b"x")}
    assert lab.ask("otto", "POST", "/v1/datasets", files=upload).status_code == 413
    say(lab, "/v1/users/otto", stored_bytes=used + 1)
    assert submit(lab, "otto").status_code == 201
    page = lab.ask("otto", "GET", "/account").text
    assert "networks and files of jobs" in page
    say(lab, "/v1/users/otto", stored_bytes=None)


def test_live_streams_of_a_user_are_as_many_as_was_said(lab: Lab) -> None:
    say(lab, "/v1/users/vera", streams=1)
    headers = {"authorization": f"Bearer {lab.keys['vera']}"}
    with lab.server.http.stream("GET", "/v1/stream", headers=headers) as first:
        assert first.status_code == 200
        second = lab.ask("vera", "GET", "/v1/stream")
        assert (second.status_code, second.json()["limit"]["most"]) == (429, 1)
        assert told(lab, "vera", "vera")["streams"]["used"] == 1
