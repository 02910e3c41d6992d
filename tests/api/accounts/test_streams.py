"""Live streams of those who may read them no longer: each ends, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import httpx
import pytest
from sqlalchemy import update

from api.store.accounts import users
from api.store.accounts.tables import ApiKey
from tests.api.accounts.people import Lab
from tests.waiting import PATIENCE


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.accounts.guard.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("api.jobs.live.COMMENT_SECONDS", 0.1)


def bearer(lab: Lab, who: str) -> dict[str, str]:
    return {"authorization": f"Bearer {lab.keys[who]}"}


def signed_in(lab: Lab, who: str) -> dict[str, str]:
    answer = httpx.post(
        f"{lab.server.address}/login", data={"key": lab.keys[who]}, timeout=PATIENCE
    )
    return {"cookie": answer.headers["set-cookie"].partition(";")[0]}


def key_expires(lab: Lab) -> None:
    with lab.server.service.database.writing() as session:
        of_vera = ApiKey.prefix == lab.keys["vera"][:12]
        session.execute(update(ApiKey).where(of_vera).values(expires_at=1.0))


def sessions_end(lab: Lab) -> None:
    assert lab.ask("vera", "DELETE", "/v1/sessions").status_code == 204


def is_disabled(lab: Lab) -> None:
    change = lab.ask("root", "PATCH", "/v1/users/vera", json={"disabled": True})
    assert change.status_code == 200


def is_removed(lab: Lab) -> None:
    assert lab.ask("ada", "DELETE", "/v1/projects/vision/members/vera").status_code == 204


def is_no_admin_any_more(lab: Lab) -> None:
    with lab.server.service.database.writing() as session:
        users.change(session, users.find(session, "ada"), is_admin=True)
        users.change(session, users.find(session, "admin"), is_admin=False)


@pytest.mark.parametrize(
    ("ends", "who", "by", "later"),
    [
        (key_expires, "vera", bearer, 401),
        (key_expires, "vera", signed_in, 401),
        (sessions_end, "vera", signed_in, 401),
        (is_disabled, "vera", bearer, 401),
        (is_disabled, "vera", signed_in, 401),
        (is_removed, "vera", bearer, 404),
        (is_no_admin_any_more, "root", bearer, 404),
    ],
)
def test_a_stream_ends_with_the_right_to_read_it(
    own_lab: Lab,
    ends: Callable[[Lab], None],
    who: str,
    by: Callable[[Lab, str], dict[str, str]],
    later: int,
) -> None:
    headers = by(own_lab, who)
    job = f"/v1/jobs/{own_lab.things['job']['shared']}"
    with ExitStack() as open_streams:
        streams = [
            open_streams.enter_context(own_lab.server.stream(path, **headers))
            for path in (f"{job}/events", f"{job}/logs", "/v1/stream")
        ]
        for stream in streams:
            assert stream.response.headers["content-type"].startswith("text/event-stream")
            stream.comment()  # it goes on
        ends(own_lab)
        for stream in streams:
            assert [event for _, event, _ in stream.messages() if event == "done"] == []
    again = httpx.get(own_lab.server.address + job, headers=headers, timeout=PATIENCE)
    assert again.status_code == later
