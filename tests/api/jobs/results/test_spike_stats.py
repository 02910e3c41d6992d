from __future__ import annotations

from typing import Any

from api.store.runs import spike_stats
from tests.api.conftest import Server


def look(step: int, firing: float, gradient: float | None = 0.5) -> tuple[int, dict[str, Any]]:
    layer = {"dead": 0.25, "saturated": 0.0, "membrane": [0.5, 0.5], "gradient_norm": gradient}
    layers = {"layer1": {"firing_rate": firing, **layer}, "layer10": {"firing_rate": 0, **layer}}
    data = {"step": step, "epoch": step / 10, "samples": 8, "layers": layers}
    return step, {**data, "readout_gradient_norm": gradient}


def test_spike_statistics_are_lists_by_layer_in_the_order_of_the_network(server: Server) -> None:
    path = server.submit()["urls"]["self"] + "/vitals"
    assert server.get(path)["looks"] == []
    claim = server.run()
    with server.service.database.writing() as session:
        spike_stats.append(session, claim.job_id, 1, [look(1, 0.1), look(9, 0.2, None)])
    found = server.get(path)
    assert found["layers"] == ["layer1", "layer10"]
    assert found["membrane_range"] == [-2, 3]
    assert [one["step"] for one in found["looks"]] == [1, 9]
    assert found["looks"][0]["firing_rate"] == [0.1, 0]
    assert found["looks"][1]["gradient_norm"] == [None, None]
    assert found["looks"][1]["membrane"] == [[0.5, 0.5], [0.5, 0.5]]
    assert [one["step"] for one in server.get(path, after_step=1)["looks"]] == [9]
    assert server.http.get("/v1/jobs/job_nowhere/vitals").status_code == 404


def test_the_page_shows_the_newest_look_as_a_table(server: Server) -> None:
    job = server.submit()
    claim = server.run()
    with server.service.database.writing() as session:
        spike_stats.append(session, claim.job_id, 1, [look(1, 0.1), look(9, 0.2345)])
    page = server.http.get(job["urls"]["page"], headers={"accept": "text/html"}).text
    assert "23.45 %" in page
    assert "After step 9, on 8 samples" in page
