"""What a job will take, told from earlier runs."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from api.store.jobs import lifecycle
from api.store.tables.jobs import Job, Status
from api.store.tables.results import Event
from tests.api.conftest import Server

SMALL: dict[str, Any] = {
    "network": {"name": "mlp", "features": [8]},
    "method": {"name": "saf-e"},
    "timesteps": 2,
    "epochs": 1,
}


def validate(server: Server, **specification: Any) -> dict[str, Any]:
    answer = server.http.post(
        "/v1/jobs", params={"validate_only": True}, json={**SMALL, **specification}
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ran(server: Server, seconds: float, **specification: Any) -> None:
    """A job that trained for so long and succeeded."""
    server.submit(**{**SMALL, **specification})
    claim = server.run(steps_total=10)
    with server.service.database.writing() as session:
        lifecycle.converting(session, claim)
        began = session.get_one(Job, claim.job_id).running_at
        assert began is not None
        session.execute(
            update(Event)
            .where(Event.job_id == claim.job_id, Event.type == Status.converting)
            .values(at=began + seconds)
        )
    server.succeed(claim)


def test_without_an_earlier_run_there_is_no_estimate(server: Server) -> None:
    assert validate(server)["time_forecast"] is None
    server.submit(**SMALL)
    server.fail(server.run())
    assert validate(server)["time_forecast"] is None


def test_runs_of_the_same_kind_tell_the_time_in_proportion_to_the_samples(server: Server) -> None:
    for seconds in (10, 12, 50):
        ran(server, seconds)
    ran(server, 1000, timesteps=4)
    found = validate(server, epochs=20)["time_forecast"]
    assert found == {
        "seconds": pytest.approx(240),
        "basis": "measured",
        "runs": 3,
        "device": "cpu",
    }


def test_other_networks_tell_the_time_in_proportion_to_their_multiplications(
    server: Server,
) -> None:
    ran(server, 10)
    found = validate(server, network={"name": "mlp", "features": [80]}, timesteps=6)
    # 64·80 + 80·10 weights in place of 64·8 + 8·10, and six steps in place of two.
    assert found["time_forecast"] == {
        "seconds": pytest.approx(10 * 5920 / 592 * 3),
        "basis": "counted",
        "runs": 1,
        "device": "cpu",
    }
    assert validate(server, method={"name": "bptt"})["time_forecast"] is None


def test_memory_is_told_for_each_method_and_number_of_steps(shared: Server) -> None:
    found = validate(shared, timesteps=6, batch_size=128)
    curves = {curve["method"]: curve for curve in found["memory_curves"]}
    assert set(curves) == {"saf-e", "saf-f", "ottt-a", "bptt"}
    assert all(curve["timesteps"] == [1, 2, 4, 6, 8, 16, 32] for curve in curves.values())
    here = curves["saf-e"]["timesteps"].index(6)
    assert curves["saf-e"]["bytes"][here] == found["memory_forecast_bytes"]
    assert len(set(curves["ottt-a"]["bytes"])) == 1
    assert curves["bptt"]["bytes"] == sorted(set(curves["bptt"]["bytes"]))
