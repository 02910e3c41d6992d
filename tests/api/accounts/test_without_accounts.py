"""A service without accounts, and a header that asks for a project."""

from __future__ import annotations

from api.store.accounts import keys, users
from tests.api.conftest import Server


def test_a_project_is_refused_where_something_would_be_made_in_it(shared: Server) -> None:
    asked = {"saf-project": "proj_1"}
    refused = shared.http.post("/v1/jobs", json={}, headers=asked)
    assert refused.status_code == 422
    assert "this service has no accounts" in refused.json()["errors"][0]["detail"]
    assert shared.http.request("TRACE", "/v1/jobs", headers=asked).status_code == 405
    assert shared.http.get("/v1/jobs", headers=asked).status_code == 200


def test_nobody_signs_in_where_there_are_no_accounts(shared: Server) -> None:
    """Not even with a key of when there were."""
    with shared.service.database.writing() as session:
        _, secret = keys.add(session, users.add(session, "anna"), "of before")
    answer = shared.http.post("/login", data={"key": secret})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "set-cookie" not in answer.headers
