"""A lab: six users, two projects, three roles, and a thing of each kind in three places."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx

from api.settings import Settings
from api.store.accounts import keys, projects, users
from api.store.database import now
from api.store.ids import new_id
from api.store.tables.base import Blob
from api.store.tables.jobs import Job, SavedSearch
from api.store.tables.results import Artifact
from api.store.tables.uploads import Dataset, UploadedNetwork
from api.store.webhooks.tables import Webhook
from tests.api.conftest import NO_BROKER, Server
from tests.waiting import until

PLACES = ("mias", "shared", "ottos")
"""Mia's alone; Mia's in the project; Otto's in another project."""
TUS = {"tus-resumable": "1.0.0"}


def with_keys(directory: Any, database_url: str, **more: Any) -> Settings:
    """Nobody looks after leases: what is to be trained stays so."""
    times = {"lease_seconds": 4000.0, "sweep_seconds": 1000.0}
    where = {"data_dir": directory, "database_url": database_url, "broker_url": NO_BROKER}
    return Settings(**{**times, **where, "auth": "keys", **more})


@dataclass
class Lab:
    """The keys of everybody, and the ids of the things by kind and place."""

    server: Server
    keys: dict[str, str] = field(default_factory=dict)
    things: dict[str, dict[str, str]] = field(default_factory=dict)

    def ask(self, who: str | None, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer to a request with the key of that name; None: without one."""
        headers = dict(options.pop("headers", {}))
        if who is not None:
            headers["authorization"] = f"Bearer {self.keys[who]}"
        return self.server.http.request(method, path, headers=headers, **options)

    def job(self, who: str, project: str = "") -> str:
        """A new job of somebody."""
        headers = {"saf-project": project} if project else {}
        answer = self.ask(who, "POST", "/v1/jobs", json={"dataset": "digits"}, headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


def opened(server: Server) -> None:
    """Wait for the database: a busy machine takes its time."""
    until(lambda: not server.service.opening.reason)


def make_lab(server: Server) -> Lab:
    opened(server)
    lab = Lab(server)
    with server.service.database.writing() as session:
        people = {"root": users.find(session, "admin")}
        for name in ("vera", "mia", "ada", "otto", "dora"):
            people[name] = users.add(session, name)
        for name, row in people.items():
            scopes = keys.SCOPES if row.is_admin else keys.SCOPES[:2]
            _, lab.keys[name] = keys.add(session, row, "all", scopes=scopes)
        for name, some in (("root, reading", ["read"]), ("root, writing", ["read", "write"])):
            _, lab.keys[name] = keys.add(session, people["root"], name, scopes=some)
        _, lab.keys["mia, reading"] = keys.add(session, people["mia"], "r", scopes=["read"])
        old, lab.keys["mia, expired"] = keys.add(session, people["mia"], "old", days=1)
        old.expires_at = old.created_at - 1
        gone, lab.keys["mia, revoked"] = keys.add(session, people["mia"], "gone")
        keys.revoke(session, gone)
        spare, _ = keys.add(session, people["mia"], "spare")
        other, _ = keys.add(session, people["otto"], "spare")
        lab.keys["a wrong one"] = "saf_" + 43 * "x"
        users.change(session, people["dora"], disabled=True)
        p = projects.add(session, "vision", admin=people["ada"])
        projects.put(session, p, people["mia"], "member")
        projects.put(session, p, people["vera"], "viewer")
        q = projects.add(session, "audio", admin=people["otto"])
        lab.things["key"] = {"mias": spare.id, "ottos": other.id}
        lab.things["project"] = {"shared": p.id, "ottos": q.id}
    _make_things(lab)
    return lab


def _make_things(lab: Lab) -> None:
    of = {"mias": ("mia", ""), "shared": ("mia", "vision"), "ottos": ("otto", "audio")}
    lab.things |= {
        kind: {}
        for kind in (
            *("job", "sweep", "dataset", "network", "artifact", "upload", "webhook", "search"),
        )
    }
    body = {"job": {"dataset": "digits"}, "over": {"/seed": [0, 1]}}
    for place, (who, project) in of.items():
        lab.things["job"][place] = lab.job(who, project)
        headers = {"saf-project": project} if project else {}
        answer = lab.ask(who, "POST", "/v1/sweeps", json=body, headers=headers)
        lab.things["sweep"][place] = answer.json()["id"]
        if place != "shared":
            upload = {"upload-length": "4", **TUS}
            answer = lab.ask(who, "POST", "/v1/uploads", headers=upload)
            lab.things["upload"][place] = answer.json()["id"]
        with lab.server.service.database.writing() as session:
            job = session.get(Job, lab.things["job"][place])
            assert job is not None
            sha256 = f"{PLACES.index(place):064x}"
            session.add(Blob(sha256=sha256, bytes=1, created_at=now()))
            session.flush()
            artifact = Artifact(
                id=new_id("art"), job_id=job.id, name="a", kind="report", sha256=sha256,
                created_at=now(),
            )  # fmt: skip
            hook = Webhook(id=new_id("whk"), url="http://127.0.0.1:9/", events=["job.failed"])
            hook.secret, hook.created_at = "whsec_eA==", 1.0
            hook.owner_id, hook.project_id = job.owner_id, job.project_id
            session.add(hook)
            lab.things["webhook"][place] = hook.id
            search = SavedSearch(id=new_id("sch"), name=place, query="q=a", created_at=1.0)
            search.owner_id, search.project_id = job.owner_id, job.project_id
            session.add(search)
            lab.things["search"][place] = search.id
            facts = {"shape": [1, 8, 8], "frames": False, "classes": 2, "class_names": ["a", "b"]}
            network = UploadedNetwork(
                id=new_id("net"), name=f"network of {place}", sha256=sha256, bytes=1, settings={},
                facts={**facts, "layers": ["readout"], "parameters": 1, "neurons": 1},
                created_at=now(), owner_id=job.owner_id, project_id=job.project_id,
            )  # fmt: skip
            session.add(network)
            lab.things["network"][place] = network.id
            dataset = Dataset(
                id=new_id("ds"), name=f"set of {place}", format="auto", status="invalid",
                problems=[], upload_bytes=1, created_at=now(), owner_id=job.owner_id,
                project_id=job.project_id,
            )  # fmt: skip
            session.add_all([artifact, dataset])
            session.flush()
            job.dataset_id = dataset.id
            lab.things["artifact"][place] = artifact.id
            lab.things["dataset"][place] = dataset.id
    for _ in range(9):  # a worker has them all: what is cancelled has not ended
        lab.server.run()
