"""Every route of the application × every credential × own, shared and foreign things: one table of
the answers that are due. A route that is not in it fails the test until somebody has decided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.orm import Session

from api.accounts.access import ACCESS
from api.accounts.routing import operations
from api.store.ids import new_id
from api.store.tables.jobs import SavedSearch
from api.store.tables.uploads import UploadedNetwork
from api.store.webhooks.tables import Webhook
from tests.api.accounts.people import PLACES, TUS, Lab, make_lab, with_keys
from tests.api.conftest import serving

NOBODY = (None, "a wrong one", "mia, expired", "mia, revoked", "dora")
SOMEBODY = ("root", "root, reading", "root, writing", "vera", "mia", "mia, reading", "ada", "otto")
ON_BOTH = (None, "root", "mia", "ada")
"""They ask on PostgreSQL as well: nobody, an admin, an owner and a leader of a project reach each
question that the guard asks of the database. What is due to all others SQLite tells as well."""
YES = "yes"  # the endpoint answers, with one of the statuses of the table
SEE: dict[str, dict[str, Any]] = {
    #              Mia's alone   in the project   of another project
    "root": dict(zip(PLACES, (YES, YES, YES), strict=True)),
    # Without the scope `admin` an admin is like anybody who belongs to no project.
    "root, reading": dict.fromkeys(PLACES, 404),
    "root, writing": dict.fromkeys(PLACES, 404),
    "vera": dict(zip(PLACES, (404, YES, 404), strict=True)),
    "mia": dict(zip(PLACES, (YES, YES, 404), strict=True)),
    "mia, reading": dict(zip(PLACES, (YES, YES, 404), strict=True)),
    "ada": dict(zip(PLACES, (404, YES, 404), strict=True)),
    "otto": dict(zip(PLACES, (404, 404, YES), strict=True)),
}
NO_WRITERS = ("root, reading", "mia, reading")
USE = SEE | {who: dict.fromkeys(PLACES, 403) for who in NO_WRITERS}
CHANGE = USE | {"vera": dict(zip(PLACES, (404, 403, 404), strict=True))}
LEAD = CHANGE | {
    "mia": {"shared": 403, "ottos": 404},
    "mia, reading": dict.fromkeys(PLACES, 403),
    "ada": {"shared": YES, "ottos": 404},
}
KEYS = CHANGE | {"vera": dict.fromkeys(PLACES, 404)}
ALL = dict.fromkeys(SOMEBODY, YES)
WRITERS = ALL | dict.fromkeys(NO_WRITERS, 403)
ADMINS = dict.fromkeys(SOMEBODY, 403) | {"root": YES}
SERVICE = {who: dict.fromkeys(PLACES, due) for who, due in ADMINS.items()}

# Route: (who gets what, kind of the thing in the address, statuses of the endpoint, what is sent)
ROUTES: dict[str, tuple[dict[str, Any], str, tuple[int, ...], dict[str, Any]]] = {
    "GET /": (ALL, "", (200,), {}),
    "GET /new": (ALL, "", (200,), {}),
    "GET /compare": (ALL, "", (200,), {}),
    "GET /datasets": (ALL, "", (200,), {}),
    "GET /networks": (ALL, "", (200,), {}),
    "GET /sweeps": (ALL, "", (200,), {}),
    "GET /system": (ALL, "", (200,), {}),
    "GET /account": (ALL, "", (200,), {}),
    "GET /docs": (ALL, "", (200,), {}),
    "HEAD /openapi.json": (ALL, "", (200,), {}),
    "GET /openapi.json": (ALL, "", (200,), {}),
    "GET /guide/{path}": (ALL, "guide", (200, 404), {}),
    "GET /jobs/{job_id}": (SEE, "job", (200,), {}),
    "GET /datasets/{dataset}": (SEE, "dataset", (200,), {}),
    "GET /sweeps/{sweep_id}": (SEE, "sweep", (200,), {}),
    "GET /metrics": (ADMINS, "", (200,), {}),
    "POST /v1/jobs": (WRITERS, "", (422,), {"json": {"timesteps": 0}}),
    "GET /v1/jobs": (ALL, "", (200,), {}),
    "HEAD /v1/artifacts/{artifact_id}": (SEE, "artifact", (410,), {}),
    "GET /v1/stream": (ALL, "stream", (200,), {}),
    "GET /v1/comparison": (ALL, "", (422,), {}),
    "GET /v1/jobs/{job_id}": (SEE, "job", (200,), {}),
    "GET /v1/jobs/{job_id}/events": (SEE, "job", (200,), {}),
    "GET /v1/jobs/{job_id}/metrics": (SEE, "job", (200,), {}),
    "GET /v1/jobs/{job_id}/logs": (SEE, "job", (200,), {}),
    "GET /v1/jobs/{job_id}/vitals": (SEE, "job", (200,), {}),
    "GET /v1/jobs/{job_id}/artifacts": (SEE, "job", (200,), {}),
    "POST /v1/jobs/{job_id}/predict": (SEE, "job", (409, 422), {"json": {"sample": 0}}),
    "GET /v1/jobs/{job_id}/samples/{sample}": (SEE, "job", (200, 410), {}),
    "POST /v1/jobs/{job_id}/retry": (USE, "job", (409,), {}),
    "POST /v1/jobs/{job_id}/continue": (USE, "job", (409,), {"json": {"epochs": 1}}),
    "POST /v1/jobs/{job_id}/cancel": (CHANGE, "job", (200, 409), {}),
    "POST /v1/jobs/{job_id}/pause": (CHANGE, "job", (200, 409), {}),
    "POST /v1/jobs/{job_id}/resume": (CHANGE, "job", (200, 409), {}),
    "PATCH /v1/jobs/{job_id}": (CHANGE, "job", (200,), {"json": {"tags": ["seen"]}}),
    "DELETE /v1/jobs/{job_id}": (CHANGE, "job", (409,), {}),
    "GET /v1/jobs/{job_id}/exports": (SEE, "job", (200,), {}),
    "GET /v1/jobs/{job_id}/exports/{export}": (SEE, "job", (404,), {}),
    "POST /v1/jobs/{job_id}/exports": (CHANGE, "job", (409, 422), {"json": {"target": "c"}}),
    "DELETE /v1/jobs/{job_id}/exports/{export}": (CHANGE, "job", (404,), {}),
    "GET /v1/artifacts/{artifact_id}": (SEE, "artifact", (410,), {}),
    "GET /v1/searches": (ALL, "", (200,), {}),
    "POST /v1/searches": (WRITERS, "", (422,), {"json": {}}),
    "DELETE /v1/searches/{search}": (CHANGE, "gone search", (204,), {}),
    "POST /searches": (WRITERS, "", (422,), {"data": {"query": "x"}}),
    "POST /searches/{search}/remove": (CHANGE, "gone search", (303,), {}),
    "POST /v1/sweeps": (WRITERS, "", (422,), {"json": {"over": {}}}),
    "GET /v1/sweeps": (ALL, "", (200,), {}),
    "GET /v1/sweeps/{sweep_id}": (SEE, "sweep", (200,), {}),
    "POST /v1/sweeps/{sweep_id}/cancel": (CHANGE, "sweep", (200,), {}),
    "PATCH /v1/sweeps/{sweep_id}": (CHANGE, "sweep", (200,), {"json": {"tags": ["seen"]}}),
    "DELETE /v1/sweeps/{sweep_id}": (CHANGE, "sweep", (409,), {}),
    "POST /v1/datasets": (WRITERS, "", (415, 422), {"json": {}}),
    "GET /v1/datasets": (ALL, "", (200,), {}),
    "GET /v1/datasets/{dataset}": (SEE, "dataset", (200,), {}),
    "GET /v1/datasets/{dataset}/preview": (SEE, "dataset", (404,), {}),
    "GET /v1/datasets/{dataset}/preview.png": (SEE, "dataset", (404,), {}),
    "GET /v1/datasets/{dataset}/candidates/{question}-{candidate}.png": (
        *(SEE, "dataset", (404,), {}),
    ),
    "POST /v1/datasets/{dataset}/choices": (CHANGE, "dataset", (409,), {"json": {"layout": "x"}}),
    "PATCH /v1/datasets/{dataset}": (CHANGE, "dataset", (200,), {"json": {"notes": "seen"}}),
    "DELETE /v1/datasets/{dataset}": (CHANGE, "dataset", (409,), {}),
    "POST /v1/networks": (WRITERS, "", (415, 422), {"json": {}}),
    "GET /v1/networks/uploaded": (ALL, "", (200,), {}),
    "GET /v1/networks/{network}": (SEE, "network", (200,), {}),
    "DELETE /v1/networks/{network}": (CHANGE, "gone network", (204,), {}),
    "GET /v1/catalogue": (ALL, "", (200,), {}),
    "OPTIONS /v1/uploads": (ALL, "", (204,), {}),
    "POST /v1/uploads": (WRITERS, "", (400,), {"headers": TUS}),
    "GET /v1/uploads/{upload}": (SEE, "upload", (200,), {}),
    "PATCH /v1/uploads/{upload}": (KEYS, "upload", (415,), {"headers": TUS}),
    "DELETE /v1/uploads/{upload}": (KEYS, "upload", (412,), {}),
    "GET /v1/networks": (ALL, "", (200,), {}),
    "GET /v1/methods": (ALL, "", (200,), {}),
    "GET /v1/neurons": (ALL, "", (200,), {}),
    "GET /v1/surrogates": (ALL, "", (200,), {}),
    "GET /v1/exports": (ALL, "", (200,), {}),
    "GET /v1/workers": (ALL, "", (200,), {}),
    "POST /v1/webhooks": (WRITERS, "", (422,), {"json": {}}),
    "GET /v1/webhooks": (ALL, "", (200,), {}),
    "GET /v1/webhooks/{webhook}": (SEE, "webhook", (200,), {}),
    "GET /v1/webhooks/{webhook}/deliveries": (SEE, "webhook", (200,), {}),
    "POST /v1/webhooks/{webhook}/test": (CHANGE, "webhook", (202,), {}),
    "PATCH /v1/webhooks/{webhook}": (CHANGE, "webhook", (200,), {"json": {"enabled": True}}),
    "DELETE /v1/webhooks/{webhook}": (CHANGE, "gone webhook", (204,), {}),
    "GET /webhooks": (ALL, "", (200,), {}),
    "POST /webhooks": (WRITERS, "", (422,), {"data": {"url": "x"}}),
    "POST /webhooks/{webhook}/test": (CHANGE, "webhook", (303,), {}),
    "POST /webhooks/{webhook}/enable": (CHANGE, "webhook", (303,), {}),
    "POST /webhooks/{webhook}/remove": (CHANGE, "gone webhook", (303,), {}),
    "GET /v1/audit": (ADMINS, "", (200,), {}),
    "GET /v1/me": (ALL, "", (200,), {}),
    "GET /v1/users": (ADMINS, "", (200,), {}),
    "POST /v1/users": (ADMINS, "", (422,), {"json": {"name": "?"}}),
    "PATCH /v1/users/{user}": (ADMINS, "user", (422,), {"json": {"name": "?"}}),
    "GET /v1/keys": (ALL, "", (200,), {}),
    "POST /v1/keys": (WRITERS, "", (422,), {"json": {}}),
    "DELETE /v1/keys/{key}": (KEYS, "key", (204,), {}),
    "GET /v1/projects": (ALL, "", (200,), {}),
    "POST /v1/projects": (WRITERS, "", (422,), {"json": {"name": "?"}}),
    "GET /v1/projects/{project}": (SEE, "project", (200,), {}),
    "GET /v1/limits": (ALL, "", (200,), {}),
    "PATCH /v1/projects/{project}": (SERVICE, "project", (200,), {"json": {"limits": {}}}),
    "DELETE /v1/projects/{project}": (LEAD, "project", (409,), {}),
    "PUT /v1/projects/{project}/members/{user}": (LEAD, "project", (422,), {"json": {}}),
    "DELETE /v1/projects/{project}/members/{user}": (LEAD, "project", (404,), {}),
    "DELETE /v1/sessions": (ALL, "", (204,), {}),
    "GET /account/limits/users/{user}": (ADMINS, "user", (200,), {}),
    "POST /account/limits/users/{user}": (ADMINS, "user", (303,), {"data": {"uploads": ""}}),
    "GET /account/limits/projects/{project}": (SERVICE, "project", (200,), {}),
    "POST /account/limits/projects/{project}": (
        *(SERVICE, "project", (303,), {"data": {"jobs_running": ""}}),
    ),
    "POST /account/keys": (WRITERS, "", (422,), {"data": {"days": "never"}}),
    "POST /account/mail": (WRITERS, "", (422,), {"data": {"address": "x"}}),
    "POST /account/keys/{key}/revoke": (KEYS, "key", (303,), {}),
    "POST /account/sessions/end": (ALL, "", (303,), {}),
    "POST /logout": (ALL, "", (303,), {}),
}
PUBLIC = {
    "GET /healthz": 200,
    "GET /readyz": 503,  # there is no broker
    "GET /login": 200,
    "POST /login": 401,
    "GET /login/oidc": 303,  # there is no provider
    "GET /login/oidc/callback": 303,
    "GET /login/oidc/leave": 303,
    "GET /static/{path}": 200,
    "GET /mail/confirm/{token}": 404,  # the token is none
    "POST /mail/confirm/{token}": 404,
    "GET /mail/stop/{token}": 404,
    "POST /mail/stop/{token}": 404,
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("lab")
    url = f"sqlite:///{directory / 'lab.sqlite3'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").create_database(f"lab_{directory.name}")
    with serving(with_keys(directory, url, requests_per_minute_unknown=0)) as server:
        yield make_lab(server)


def asked_by(people: tuple[str | None, ...]) -> pytest.MarkDecorator:
    """Everybody on SQLite, and on PostgreSQL those of `ON_BOTH`."""
    pairs = [("sqlite", who) for who in people]
    pairs += [("postgresql", who) for who in people if who in ON_BOTH]
    return pytest.mark.parametrize(("lab", "who"), pairs, indirect=["lab"], scope="module")


def addresses(lab: Lab, route: str, kind: str) -> dict[str, str]:
    """The addresses of a route by the place of the thing in it."""
    template = route.partition(" ")[2]
    if kind in ("", "stream", "guide", "user"):
        only = {"guide": "index.html", "user": "mia"}.get(kind, "")
        return {"": template.replace("{path}", only).replace("{user}", only)}
    found = {}
    things = lab.things[kind.removeprefix("gone ")]
    if kind.startswith("gone "):  # each request has one of its own
        with lab.server.service.database.writing() as session:
            things = {place: copied(session, id_) for place, id_ in things.items()}
    for place, id_ in things.items():
        first = template.index("{")
        rest = template[template.index("}") + 1 :].replace("{user}", "nobody")
        rest = rest.replace("{question}", "0").replace("{candidate}", "0")
        rest = rest.replace("{export}", "0").replace("{sample}", "0")
        found[place] = template[:first] + id_ + rest
    return found


def copied(session: Session, id_: str) -> str:
    network = session.get(UploadedNetwork, id_)
    if network is not None:
        columns = {key: getattr(network, key) for key in UploadedNetwork.__table__.columns.keys()}  # noqa: SIM118
        another = UploadedNetwork(**{**columns, "id": new_id("net")})
        session.add(another)
        return another.id
    search = session.get(SavedSearch, id_)
    if search is not None:
        another_one = SavedSearch(
            id=new_id("sch"), name="another", query="q=a", created_at=1,
            owner_id=search.owner_id, project_id=search.project_id,
        )  # fmt: skip
        session.add(another_one)
        return another_one.id
    old = session.get(Webhook, id_)
    assert old is not None
    new = Webhook(
        id=new_id("whk"), url=old.url, events=old.events, secret=old.secret, created_at=1,
        owner_id=old.owner_id, project_id=old.project_id,
    )  # fmt: skip
    session.add(new)
    return new.id


def answer(lab: Lab, who: str | None, route: str, address: str, kind: str, sent: Any) -> Any:
    method = route.partition(" ")[0]
    if kind == "stream":  # it has no end
        headers = {} if who is None else {"authorization": f"Bearer {lab.keys[who]}"}
        with lab.server.http.stream(method, address, headers=headers) as response:
            return response.status_code
    return lab.ask(who, method, address, **sent).status_code


def test_every_route_of_the_application_is_decided(lab: Lab) -> None:
    there = {f"{method} {template}" for method, template in operations(lab.server.app)}
    assert there - ROUTES.keys() - PUBLIC.keys() == set(), "decide who may, here and in access.py"
    assert (ROUTES.keys() | PUBLIC.keys()) - there == set()
    decided = {route.replace("HEAD ", "GET ") for route in there}
    assert decided == ACCESS.keys()


def test_a_route_that_nobody_has_decided_is_denied(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    less = {route: access for route, access in ACCESS.items() if route != "GET /v1/workers"}
    monkeypatch.setattr("api.accounts.access.ACCESS", less)
    assert lab.ask("root", "GET", "/v1/workers").status_code == 404
    assert lab.ask(None, "GET", "/v1/workers").status_code == 401


@asked_by(NOBODY)
def test_without_a_key_that_opens_nothing_is_there_but_what_is_public(
    lab: Lab, who: str | None
) -> None:
    wrong: dict[tuple[str, str], Any] = {}
    for route, (_, kind, _, sent) in ROUTES.items():
        for place, address in addresses(lab, route, kind).items():
            status = answer(lab, who, route, address, kind, sent)
            if status != 401:
                wrong[route, place] = status
    for path in ("/v1/nothing", "/nothing", "/v1/jobs/", "/guide", "/static", "//v1/jobs"):
        if lab.ask(who, "GET", path).status_code != 401:
            wrong["GET", path] = "there"
    assert lab.ask(who, "PUT", "/v1/jobs").status_code == 401
    assert wrong == {}
    for route, due in PUBLIC.items():
        method, _, template = route.partition(" ")
        sent = {"data": {"key": "saf_no"}} if method == "POST" else {}
        path = template.replace("{path}", "icon.svg")
        assert lab.ask(who, method, path, **sent).status_code == due, route


@asked_by(SOMEBODY)
def test_every_route_gives_everybody_what_is_due(lab: Lab, who: str) -> None:
    wrong = {}
    for route, (table, kind, statuses, sent) in ROUTES.items():
        for place, address in addresses(lab, route, kind).items():
            due = table[who][place] if place else table[who]
            status = answer(lab, who, route, address, kind, sent)
            if not (status in statuses if due == YES else status == due):
                wrong[route, place] = (due, status)
    assert wrong == {}


def test_what_is_not_to_be_seen_reads_as_what_is_not_there(lab: Lab) -> None:
    for kind, path in (
        ("job", "/v1/jobs/"),
        ("sweep", "/v1/sweeps/"),
        ("dataset", "/v1/datasets/"),
        ("network", "/v1/networks/"),
        ("artifact", "/v1/artifacts/"),
        ("upload", "/v1/uploads/"),
        ("project", "/v1/projects/"),
    ):
        foreign = lab.things[kind]["ottos"]
        nowhere = foreign[:-4] + "zzzz"
        answers = [lab.ask("mia", "GET", path + each).json() for each in (foreign, nowhere)]
        told = [
            {name: str(value).replace(each, "ID") for name, value in said.items()}
            for said, each in zip(answers, (foreign, nowhere), strict=True)
        ]
        for one in told:
            one.pop("request_id")
        assert told[0] == told[1], kind


def test_the_table_has_its_size(lab: Lab) -> None:
    """Cells: requests, each with one answer that is due."""
    cells = sum(
        len(addresses(lab, route, kind)) * len(SOMEBODY + NOBODY)
        for route, (_, kind, _, _) in ROUTES.items()
    )
    assert cells > 1500
