"""Keys, users and projects: made, used, closed; who may do what with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.settings import Settings
from api.store.accounts import keys, projects, users
from api.store.accounts.tables import ApiKey
from tests.api.accounts.people import Lab, make_lab, opened, with_keys
from tests.api.conftest import NO_BROKER, serving
from tests.waiting import until


def test_the_first_admins_key_is_printed_once_and_is_in_no_log(
    tmp_path: Path,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = with_keys(tmp_path, database_url)
    caplog.set_level("DEBUG")
    with serving(settings) as server:
        opened(server)
        printed = capsys.readouterr().out
        key = next(line.strip() for line in printed.splitlines() if line.strip().startswith("saf_"))
        me = server.http.get("/v1/me", headers={"authorization": f"Bearer {key}"}).json()
        assert (me["user"]["name"], me["user"]["admin"]) == ("admin", True)
        assert server.http.get("/v1/me").status_code == 401
        # As docs/operating.md says for Prometheus.
        wanted = {"name": "prometheus", "scopes": ["metrics"]}
        bearer = {"authorization": f"Bearer {key}"}
        numbers = server.http.post("/v1/keys", json=wanted, headers=bearer).json()
        bearer = {"authorization": f"Bearer {numbers['secret']}"}
        assert server.http.get("/metrics", headers=bearer).status_code == 200
    with serving(settings) as server:
        opened(server)
        again = server.http.get("/v1/me", headers={"authorization": f"bearer {key}"})
        assert again.status_code == 200
    assert "saf_" not in capsys.readouterr().out
    assert key not in caplog.text


def last_use(lab: Lab, key_id: str) -> float | None:
    with lab.server.service.database.reading() as session:
        row = session.get(ApiKey, key_id)
        assert row is not None
        return row.last_used_at


def test_a_key_opens_until_it_expires_or_is_revoked_and_says_when_it_was_used(
    own_lab: Lab,
) -> None:
    body = {"name": "night", "scopes": ["read"], "expires_days": 1}
    made = own_lab.ask("mia", "POST", "/v1/keys", json=body).json()
    assert (made["scopes"], made["last_used_at"]) == (["read"], None)
    assert made["secret"].startswith(made["prefix"])
    own_lab.keys["night"] = made["secret"]
    assert own_lab.ask("night", "GET", "/v1/jobs").status_code == 200
    until(lambda: last_use(own_lab, made["id"]) is not None)
    refused = own_lab.ask("night", "POST", "/v1/jobs", json={"dataset": "digits"})
    assert "has the scopes read, and this needs write" in refused.json()["detail"]
    listed = own_lab.ask("mia", "GET", "/v1/keys").json()["data"]
    assert "secret" not in str(listed)
    assert next(key for key in listed if key["id"] == made["id"])["last_used_at"] is not None

    with own_lab.server.service.database.writing() as session:
        row = session.get(ApiKey, made["id"])
        assert row is not None
        row.expires_at = row.created_at
    late = own_lab.ask("night", "GET", "/v1/jobs")
    assert (late.status_code, "has expired" in late.json()["detail"]) == (401, True)
    assert late.headers["www-authenticate"].startswith("Bearer")
    assert own_lab.ask("mia", "DELETE", f"/v1/keys/{made['id']}").status_code == 204
    assert "was revoked" in own_lab.ask("night", "GET", "/v1/jobs").json()["detail"]


def test_a_key_opens_no_more_than_what_it_is_made_with(own_lab: Lab) -> None:
    for body in ({"name": "x", "scopes": ["admin"]}, {"name": "x", "scopes": ["write", "metrics"]}):
        refused = own_lab.ask("mia", "POST", "/v1/keys", json=body)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/scopes")
    other = own_lab.ask("mia", "POST", "/v1/keys", json={"name": "x", "user": "otto"})
    assert other.status_code == 403
    own_lab.keys["no reading"] = own_lab.ask(
        "root", "POST", "/v1/keys", json={"name": "x", "scopes": ["write", "admin"]}
    ).json()["secret"]
    body = {"name": "x", "user": "otto", "scopes": ["read"]}
    beyond = own_lab.ask("no reading", "POST", "/v1/keys", json=body)
    assert (beyond.status_code, "which lacks read" in beyond.json()["detail"]) == (422, True)
    body = {"name": "x", "user": "otto", "scopes": ["read", "admin"]}
    useless = own_lab.ask("root", "POST", "/v1/keys", json=body)
    assert (useless.status_code, "and otto is none" in useless.json()["detail"]) == (422, True)
    for_otto = own_lab.ask("root", "POST", "/v1/keys", json={"name": "x", "user": "otto"}).json()
    assert (for_otto["user"], for_otto["scopes"]) == ("otto", ["read", "write"])
    own_lab.keys["numbers"] = own_lab.ask(
        "root", "POST", "/v1/keys", json={"name": "prometheus", "scopes": ["metrics"]}
    ).json()["secret"]
    numbers = own_lab.ask("numbers", "GET", "/metrics")
    assert (numbers.status_code, 'saf_jobs{status="running"} 9.0' in numbers.text) == (200, True)
    assert own_lab.ask("numbers", "GET", "/v1/jobs").status_code == 403


def test_a_request_whose_answer_was_lost_leaves_one_user_one_project_and_one_key(
    own_lab: Lab,
) -> None:
    for path, body in (("/v1/users", {"name": "lena"}), ("/v1/projects", {"name": "radar"})):
        sent = {"idempotency-key": path}
        made = [own_lab.ask("root", "POST", path, json=body, headers=sent) for _ in range(2)]
        assert [answer.status_code for answer in made] == [201, 200]
        assert made[0].json()["id"] == made[1].json()["id"]
    sent = {"idempotency-key": "key"}
    first, second = (
        own_lab.ask("mia", "POST", "/v1/keys", json={"name": "x"}, headers=sent) for _ in range(2)
    )
    assert (first.status_code, second.status_code) == (201, 200)
    own_lab.keys |= {"first": first.json()["secret"], "second": second.json()["secret"]}
    assert second.json()["replaces"] == first.json()["id"]
    assert own_lab.ask("first", "GET", "/v1/me").status_code == 401
    assert own_lab.ask("second", "GET", "/v1/me").status_code == 200


def test_a_key_that_somebody_may_use_is_revoked_by_no_repeated_request(own_lab: Lab) -> None:
    for what in ("is in use", "was made long ago", "was revoked"):
        sent = {"json": {"name": what}, "headers": {"idempotency-key": what.replace(" ", "-")}}
        first = own_lab.ask("mia", "POST", "/v1/keys", **sent).json()
        with own_lab.server.service.database.writing() as session:
            row = keys.find(session, first["id"])
            if what == "is in use":
                row.last_used_at = row.created_at
            elif what == "was made long ago":
                row.created_at -= keys.LOST_SECONDS
            else:
                keys.revoke(session, row)
        refused = own_lab.ask("mia", "POST", "/v1/keys", **sent)
        assert (refused.status_code, first["id"] in refused.json()["detail"]) == (409, True), what
        assert "with a new Idempotency-Key" in refused.json()["detail"]
        own_lab.keys["nightly"] = first["secret"]
        due = 401 if what == "was revoked" else 200
        assert own_lab.ask("nightly", "GET", "/v1/me").status_code == due


def test_a_disabled_user_is_out_at_once_and_the_last_admin_stays(own_lab: Lab) -> None:
    change = own_lab.ask("root", "PATCH", "/v1/users/mia", json={"disabled": True})
    assert change.json()["disabled_at"] is not None
    assert "mia was disabled" in own_lab.ask("mia", "GET", "/v1/me").json()["detail"]
    own_lab.ask("root", "PATCH", "/v1/users/mia", json={"disabled": False})
    assert own_lab.ask("mia", "GET", "/v1/me").status_code == 200
    for body in ({"disabled": True}, {"admin": False}):
        last = own_lab.ask("root", "PATCH", "/v1/users/admin", json=body)
        assert (last.status_code, "only admin" in last.json()["detail"]) == (409, True)
    own_lab.ask("root", "PATCH", "/v1/users/ada", json={"admin": True})
    wanted = {"name": "of an admin", "user": "ada"}
    own_lab.keys["ada"] = own_lab.ask("root", "POST", "/v1/keys", json=wanted).json()["secret"]
    assert own_lab.ask("ada", "GET", "/v1/users").status_code == 200


def test_projects_are_led_by_their_admins(own_lab: Lab) -> None:
    made = own_lab.ask("otto", "POST", "/v1/projects", json={"name": "radar"}).json()
    assert made["members"] == [{"user": "otto", "role": "admin"}]
    again = own_lab.ask("mia", "POST", "/v1/projects", json={"name": "radar"})
    assert again.status_code == 409
    member = "/v1/projects/radar/members/mia"
    assert own_lab.ask("otto", "PUT", member, json={"role": "viewer"}).status_code == 200
    assert own_lab.ask("mia", "GET", "/v1/projects/radar").json()["role"] == "viewer"
    assert own_lab.ask("mia", "PUT", member, json={"role": "admin"}).status_code == 403
    last = own_lab.ask("otto", "DELETE", "/v1/projects/radar/members/otto")
    assert (last.status_code, "only admin" in last.json()["detail"]) == (409, True)
    assert own_lab.ask("otto", "DELETE", member).status_code == 204
    assert own_lab.ask("mia", "GET", "/v1/projects/radar").status_code == 404
    assert own_lab.ask("otto", "DELETE", "/v1/projects/radar").status_code == 204
    full = own_lab.ask("ada", "DELETE", "/v1/projects/vision")
    assert (full.status_code, "has things" in full.json()["detail"]) == (409, True)


def test_no_name_has_the_form_of_an_id(own_lab: Lab) -> None:
    project = own_lab.things["project"]["ottos"]
    user = own_lab.ask("otto", "GET", "/v1/me").json()["user"]["id"]
    for taken in (project, user, own_lab.things["job"]["mias"], "usr_" + 26 * "0"):
        for path in ("/v1/projects", "/v1/users"):
            refused = own_lab.ask("root", "POST", path, json={"name": taken})
            assert refused.status_code == 422
            assert refused.json()["errors"][0]["pointer"] == "/name"
            assert "has the form of an id; use another name" in refused.json()["detail"]
    for fit in ("usr_anna", "prj_" + 26 * "u", "usr_" + 25 * "0"):
        assert own_lab.ask("root", "POST", "/v1/projects", json={"name": fit}).status_code == 201


def test_a_name_of_before_that_has_the_form_of_an_id_takes_nothing_over(own_lab: Lab) -> None:
    """Such names were let in once: they stand for nothing, and their rows are found by their id."""
    project = own_lab.things["project"]["ottos"]
    user = own_lab.ask("otto", "GET", "/v1/me").json()["user"]["id"]
    with own_lab.server.service.database.writing() as session:
        mia = users.find(session, "mia")
        shadow = projects.add(session, "shadow", admin=mia)
        shadow.name = project
        impostor = users.add(session, "impostor")
        impostor.name = user
        session.flush()
        shadow_id, impostor_id = shadow.id, impostor.id
    assert own_lab.ask("mia", "GET", f"/v1/projects/{project}").status_code == 404
    assert own_lab.ask("otto", "GET", f"/v1/projects/{project}").json()["name"] == "audio"
    member = f"/v1/projects/audio/members/{user}"
    assert "otto is the only admin" in own_lab.ask("otto", "DELETE", member).json()["detail"]
    assert own_lab.ask("mia", "GET", f"/v1/projects/{shadow_id}").json()["name"] == project
    change = own_lab.ask("root", "PATCH", f"/v1/users/{impostor_id}", json={"disabled": True})
    assert (change.status_code, change.json()["name"]) == (200, user)
    assert own_lab.ask("otto", "GET", "/v1/me").json()["user"]["name"] == "otto"


def test_limits_are_of_users_and_not_of_addresses(tmp_path: Path) -> None:
    settings = with_keys(tmp_path, f"sqlite:///{tmp_path / 'x'}", jobs_queued_per_user=6)
    with serving(settings) as server:
        lab = make_lab(server)
        for _ in range(6):
            lab.job("mia")
        more = lab.ask("mia", "POST", "/v1/jobs", json={"dataset": "digits"})
        assert (more.status_code, "6 jobs of mia wait" in more.json()["detail"]) == (429, True)
        lab.job("otto")


def test_a_proxy_names_users_and_nobody_else_does(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path,
        broker_url=NO_BROKER,
        auth="proxy",
        trusted_proxies=("127.0.0.1",),
        proxy_secret="between us",
        admins=("Anna@lab.example",),
    )
    named = {"x-forwarded-user": "Anna@lab.example", "saf-proxy-secret": "between us"}
    with serving(settings) as server:
        opened(server)
        me = server.http.get("/v1/me", headers=named).json()
        assert (me["user"]["name"], me["user"]["admin"]) == ("anna@lab.example", True)
        again = server.http.get("/v1/me", headers=named).json()
        assert again["user"]["id"] == me["user"]["id"]
        otto = server.http.get("/v1/me", headers={**named, "x-forwarded-user": "otto"}).json()
        assert otto["user"]["admin"] is False
        page = {"accept": "text/html"}
        for wrong in (
            {},
            {"x-forwarded-user": "otto"},
            {**named, "saf-proxy-secret": "guessed"},
            {"saf-proxy-secret": "between us"},
            page,
        ):
            assert server.http.get("/v1/jobs", headers=wrong).status_code == 401
        taken = {**named, "x-forwarded-user": otto["user"]["id"].upper()}
        refused = server.http.get("/v1/me", headers=taken)
        assert (refused.status_code, "has the form of an id" in refused.text) == (401, True)
        twice = [("x-forwarded-user", "otto"), *named.items()]
        assert server.http.get("/v1/me", headers=twice).status_code == 401
    trusting = settings.model_copy(update={"trusted_proxies": ("10.0.0.1",)})
    with serving(trusting) as server:
        opened(server)
        assert server.http.get("/v1/me", headers=named).status_code == 401


def test_low_numbers_of_priority_are_for_admins(own_lab: Lab) -> None:
    high = {"dataset": "digits", "priority": 2}
    refused = own_lab.ask("mia", "POST", "/v1/jobs", json=high)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/priority")
    assert "others use 3 to 9" in refused.json()["detail"]
    sweep = {"job": {"dataset": "digits"}, "over": {"/priority": [5, 0]}}
    in_sweep = own_lab.ask("mia", "POST", "/v1/sweeps", json=sweep)
    assert (in_sweep.status_code, "is for admins" in in_sweep.json()["detail"]) == (422, True)
    assert own_lab.ask("root", "POST", "/v1/jobs", json=high).status_code == 201
