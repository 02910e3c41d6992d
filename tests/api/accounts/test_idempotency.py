"""One Idempotency-Key, several requests: at one moment, for another project, after what was made
has gone; on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from api.store.accounts import keys
from api.store.accounts.tables import User
from api.store.tables.jobs import Job
from tests.api.accounts.people import TUS, Lab
from tests.api.datasets.uploading import IMAGES

AT_ONCE = 6
HOOK = {"url": "https://192.31.196.1/", "events": ["job.failed"]}


def at_once(ask: Callable[[], httpx.Response]) -> list[httpx.Response]:
    barrier = threading.Barrier(AT_ONCE)

    def one(_: int) -> httpx.Response:
        barrier.wait()
        return ask()

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(one, range(AT_ONCE)))


def failed(lab: Lab) -> str:
    job = lab.job("mia")
    with lab.server.service.database.writing() as session:
        row = session.get(Job, job)
        assert row is not None
        row.status = "failed"
    return job


def test_requests_of_one_key_at_one_moment_make_one_thing(own_lab: Lab) -> None:
    sweep = {"job": {"dataset": "digits"}, "over": {"/seed": [0, 1]}}
    made: dict[str, Any] = {
        "/v1/jobs": {"dataset": "digits"},
        "/v1/sweeps": sweep,
        f"/v1/jobs/{failed(own_lab)}/retry": None,
        "/v1/webhooks": HOOK,
        "/v1/users": {"name": "lena"},
        "/v1/projects": {"name": "radar"},
    }
    hook, job = own_lab.things["webhook"]["shared"], own_lab.things["job"]["ottos"]
    changed = {
        f"/v1/webhooks/{hook}/test": 202,
        f"/v1/jobs/{job}/cancel": 200,
        f"/v1/sweeps/{own_lab.things['sweep']['mias']}/cancel": 200,
    }
    for path in (*made, *changed):
        sent = {"headers": {"idempotency-key": path}, "json": made.get(path)}
        answers = at_once(lambda path=path, sent=sent: own_lab.ask("root", "POST", path, **sent))  # type: ignore[misc]
        due = [changed[path]] * AT_ONCE if path in changed else [200] * (AT_ONCE - 1) + [201]
        assert sorted(answer.status_code for answer in answers) == due, (path, answers[0].text)
        assert len({answer.json()["id"] for answer in answers}) == 1, path
        if path in made:
            assert len({answer.headers["location"] for answer in answers}) == 1, path


def test_of_keys_that_one_key_asks_for_at_one_moment_one_opens_something(own_lab: Lab) -> None:
    body, sent = {"name": "x"}, {"idempotency-key": "once"}
    answers = at_once(lambda: own_lab.ask("mia", "POST", "/v1/keys", json=body, headers=sent))
    assert sorted(answer.status_code for answer in answers) == [200] * (AT_ONCE - 1) + [201]
    with own_lab.server.service.database.reading() as session:
        mia = session.query(User).filter(User.name == "mia").one()
        made = [row for row in keys.of(session, mia.id) if row.name == "x"]
        assert len(made) == AT_ONCE
        assert [row.revoked_at is None for row in made].count(True) == 1


def test_the_same_key_for_another_project_is_another_request(own_lab: Lab) -> None:
    own_lab.ask("ada", "PUT", "/v1/projects/vision/members/otto", json={"role": "member"})
    sweep = {"job": {"dataset": "digits"}, "over": {"/seed": [0, 1]}}
    bodies = {"/v1/jobs": {"dataset": "digits"}, "/v1/sweeps": sweep, "/v1/webhooks": HOOK}
    for path, body in bodies.items():
        for first, others in (("audio", ("vision", None)), (None, ("audio",))):
            key = {"idempotency-key": f"{path} {first}"}

            def ask(
                project: str | None, path: str = path, body: Any = body, key: Any = key
            ) -> httpx.Response:
                headers = key if project is None else {**key, "saf-project": project}
                return own_lab.ask("otto", "POST", path, json=body, headers=headers)

            made = ask(first)
            assert (made.status_code, made.json()["project"]) == (201, first), made.text
            for other in others:
                refused = ask(other)
                assert refused.status_code == 409
                assert "was used for another request" in refused.json()["detail"]
            again = ask(first)
            assert (again.status_code, again.json()["id"]) == (200, made.json()["id"])


def test_what_was_deleted_is_made_anew_by_the_same_request(own_lab: Lab) -> None:
    for path, body in (("/v1/webhooks", HOOK), ("/v1/projects", {"name": "radar"})):
        sent = {"json": body, "headers": {"idempotency-key": path}}
        first = own_lab.ask("mia", "POST", path, **sent).json()["id"]
        assert own_lab.ask("mia", "DELETE", f"{path}/{first}").status_code == 204
        second, again = (own_lab.ask("mia", "POST", path, **sent) for _ in range(2))
        assert (second.status_code, again.status_code) == (201, 200), second.text
        assert first != second.json()["id"] == again.json()["id"]


def test_a_project_that_one_has_left_is_not_read_by_making_it_again(own_lab: Lab) -> None:
    sent = {"json": {"name": "radar"}, "headers": {"idempotency-key": "radar"}}
    own_lab.ask("mia", "POST", "/v1/projects", **sent)
    own_lab.ask("mia", "PUT", "/v1/projects/radar/members/ada", json={"role": "admin"})
    assert own_lab.ask("mia", "DELETE", "/v1/projects/radar/members/mia").status_code == 204
    again = own_lab.ask("mia", "POST", "/v1/projects", **sent)
    assert (again.status_code, "members" in again.text) == (409, False)


def test_a_test_message_is_sent_once_for_one_key(own_lab: Lab) -> None:
    hook = f"/v1/webhooks/{own_lab.things['webhook']['mias']}"
    sent = {"idempotency-key": "test"}
    first, again = (own_lab.ask("mia", "POST", f"{hook}/test", headers=sent) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    other = own_lab.ask("mia", "POST", f"{hook}/test").json()["id"]
    there = own_lab.ask("mia", "GET", f"{hook}/deliveries").json()["data"]
    assert {each["id"] for each in there} == {first.json()["id"], other}


def test_one_member_who_is_added_several_times_at_one_moment_is_one(own_lab: Lab) -> None:
    path = "/v1/projects/vision/members/otto"
    body = {"role": "viewer"}
    answers = at_once(lambda: own_lab.ask("ada", "PUT", path, json=body))
    assert [answer.status_code for answer in answers] == [200] * AT_ONCE
    members = own_lab.ask("ada", "GET", "/v1/projects/vision").json()["members"]
    assert members.count({"user": "otto", "role": "viewer"}) == 1


def test_what_is_deleted_several_times_at_one_moment_is_deleted_once(own_lab: Lab) -> None:
    own_lab.ask("ada", "POST", "/v1/projects", json={"name": "empty"})
    things = own_lab.things
    for path in (
        "/v1/projects/empty",
        "/v1/projects/vision/members/vera",
        f"/v1/networks/{things['network']['shared']}",
        f"/v1/webhooks/{things['webhook']['shared']}",
    ):
        answers = at_once(lambda path=path: own_lab.ask("ada", "DELETE", path))  # type: ignore[misc]
        found = sorted(answer.status_code for answer in answers)
        assert found == [204] + [404] * (AT_ONCE - 1), path


def test_an_upload_becomes_one_data_set_in_one_project(own_lab: Lab) -> None:
    content = {"content-type": "application/offset+octet-stream", "upload-length": str(len(IMAGES))}
    begun = own_lab.ask("otto", "POST", "/v1/uploads", content=IMAGES, headers={**TUS, **content})
    assert begun.json()["received"] == len(IMAGES), begun.text

    def make(project: str) -> httpx.Response:
        headers = {"saf-project": project} if project else {}
        body = {"upload": begun.json()["id"], "name": "mine"}
        return own_lab.ask("otto", "POST", "/v1/datasets", json=body, headers=headers)

    made, again, elsewhere = make("audio"), make("audio"), make("")
    assert (made.status_code, made.json()["project"]) == (201, "audio"), made.text
    assert (again.status_code, again.json()["id"]) == (200, made.json()["id"])
    assert (elsewhere.status_code, "in another project" in elsewhere.text) == (409, True)
