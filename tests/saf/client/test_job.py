"""A job as an object: waited for, steered, asked for what it left; documents that say what they
are."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from saf.client.client import Client
from saf.client.documents import Comparison, Dataset, Metrics, Prediction, SpikeStatistics, Sweep
from saf.client.types import ClientError, WaitTimeoutError
from tests.api.conftest import Server
from tests.saf.client.network import finish, keep, put_away
from tests.waiting import until


@pytest.fixture
def client(shared: Server) -> Iterator[Client]:
    put_away(shared)
    with Client(shared.address) as client:
        yield client


def test_a_job_is_waited_for_with_a_line_for_each_status_and_is_up_to_date_then(
    shared: Server, client: Client
) -> None:
    printed = io.StringIO()

    def work() -> None:
        until(printed.getvalue)
        finish(shared, job.id)

    job = client.submit({"name": "waited for"})
    assert job["status"] == "queued"
    assert not job.has_ended
    worker = threading.Thread(target=work)
    worker.start()
    with contextlib.redirect_stdout(printed):
        assert job.wait() is job
    worker.join()
    assert job["status"] == "succeeded"
    assert job.has_ended
    lines = printed.getvalue().splitlines()
    assert lines[0].startswith("waited for queued")
    assert lines[-1].startswith("waited for succeeded step 50/100  loss 0.500")


def test_waiting_without_progress_prints_nothing_and_ends_in_time(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    job = client.submit({})
    with pytest.raises(WaitTimeoutError, match="it goes on"):
        job.wait(timeout=0.3, progress=False)
    assert capsys.readouterr().out == ""


def test_a_job_is_steered_by_its_own_methods(shared: Server, client: Client) -> None:
    job = client.submit({"name": "steered"})
    assert job.pause()["status"] == "paused"
    assert job.resume()["status"] == "queued"
    assert job.cancel()["status"] == "cancelled"
    again = job.retry(from_start=True)
    assert again["retry_of"] == job.id
    shared.http.post(f"/v1/jobs/{again.id}/cancel")
    assert again["status"] == "queued"
    assert again.refresh()["status"] == "cancelled"
    assert [event["type"] for event in again.events()] == ["queued", "cancelled"]
    assert [message.kind for message in again.watch()][-1] == "done"
    again.delete()
    assert again.id not in [found.id for found in client.jobs(q="steered")]


def test_a_job_gives_its_files_read(shared: Server, client: Client, tmp_path: Path) -> None:
    files = {"certificate.json": b'{"verdict": "measured"}', "report.json": b'{"health": "ok"}'}
    job = client.get(keep(shared, files))
    assert job.certificate() == {"verdict": "measured"}
    assert job.report() == {"health": "ok"}
    assert {artifact["name"] for artifact in job.artifacts()} == set(files)
    assert [path.name for path in job.download(tmp_path)] == sorted(files)
    with pytest.raises(ClientError, match=r"has no file 'lif\.safetensors'"):
        job.network()
    assert job.logs() == ""
    assert job.page == f"{shared.address}/jobs/{job.id}"


def test_a_job_is_a_dictionary_for_json_and_for_copies(client: Client) -> None:
    job = client.submit({"metadata": {"a": "b"}})
    assert json.loads(json.dumps(job)) == job
    assert pickle.loads(pickle.dumps(job)) == job
    assert copy.deepcopy(job) == job


def test_what_stands_for_a_job_says_what_it_is_and_how_far(shared: Server, client: Client) -> None:
    job = client.submit({"name": "first try", "method": {"name": "saf-e"}})
    assert repr(job) == f"Job({job.id} 'first try', queued, saf-e on digits, 0%)"
    claim = shared.run()
    shared.progress(claim, 50, loss=0.5)
    assert repr(job.refresh()).endswith("running, saf-e on digits, 50%)")
    shared.succeed(claim, lif_accuracy=0.975, verdict="measured", findings=[])
    assert repr(job.refresh()).endswith("succeeded, saf-e on digits, LIF 97.50% measured)")
    failed = client.submit({})
    shared.fail(shared.run())
    assert repr(failed.refresh()).endswith("failed, saf-f on digits, findings: data)")
    assert repr(client) == f"Client('{shared.address}')"


def test_metrics_become_a_data_frame(shared: Server, client: Client) -> None:
    job = client.submit({})
    from api.store.runs import metrics

    claim = shared.run()
    points = {"loss": [(1, 2.0), (2, 1.0), (3, 0.5)], "val_accuracy": [(2, 0.75)]}
    with shared.service.database.writing() as session:
        metrics.append(session, job.id, claim.attempt, points)
    found = job.metrics()
    assert repr(found) == "Metrics(loss (3), val_accuracy (1))"
    frame = found.to_frame()
    assert list(frame.index) == [1, 2, 3]
    assert frame.index.name == "step"
    assert frame["loss"].tolist() == [2.0, 1.0, 0.5]
    assert frame["val_accuracy"].dropna().to_dict() == {2: 0.75}
    assert client.metrics_csv(job.id).splitlines()[0].startswith("name,")
    assert repr(job.metrics(["nothing"])) == "Metrics(none yet)"


def test_jobs_are_compared_in_a_data_frame(client: Client) -> None:
    one = client.submit({"seed": 1, "timesteps": 6})
    other = client.submit({"seed": 2, "timesteps": 4})
    found = client.compare([one, other.id])
    assert repr(found) == "Comparison(2 jobs that differ in /timesteps, /seed)"
    frame = found.to_frame()
    assert frame.loc[one.id, "seed"] == 1
    assert frame.loc[other.id, "timesteps"] == 4
    assert one.id in client.compare_csv([one, other])
    assert client.compare_svg([one, other], ["val_accuracy"], x="epoch").startswith(
        ("<?xml", "<svg")
    )


def test_a_sweep_becomes_a_data_frame(client: Client) -> None:
    made = client.sweeps.submit({"/seed": [0, 1]}, {"epochs": 1}, name="two seeds")
    frame = client.sweeps.get(made["id"]).to_frame()
    assert frame["seed"].tolist() == [0, 1]
    assert frame["status"].tolist() == ["queued", "queued"]
    ended = client.sweeps.cancel(made["id"])
    assert repr(ended) == f"Sweep({made['id']} 'two seeds', 2 of 2 jobs ended)"


LOOK = {
    "step": 7,
    "epoch": 0.5,
    "attempt": 1,
    "samples": 8,
    "firing_rate": [0.1, 0.2],
    "membrane": [[1.0], [1.0]],
}


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        (
            Dataset(
                name="mine",
                status="ready",
                shape=[1, 8, 8],
                classes=10,
                counts={"train": 1437, "test": 360},
            ),
            "Dataset('mine', 1,437 + 360 samples of 1×8×8, 10 classes)",
        ),
        (
            Dataset(name="mine", status="checking", shape=None, counts=None),
            "Dataset('mine', checking)",
        ),
        (
            Prediction(
                class_names=["cat", "dog"],
                predicted=1,
                label=0,
                timesteps=2,
                layers=[{"spikes": [1000, 234]}],
            ),
            "Prediction('dog', labelled 'cat', 1,234 spikes in 2 time steps)",
        ),
        (
            SpikeStatistics(layers=["layer1", "layer2"], looks=[LOOK]),
            "SpikeStatistics(1 looks at 2 layers)",
        ),
        (
            Comparison(jobs=[{}], settings=[], results=[]),
            "Comparison(1 jobs that differ in nothing)",
        ),
        (Sweep(id="sweep_1", name="", ended=0, jobs_total=2), "Sweep(sweep_1, 0 of 2 jobs ended)"),
    ],
)
def test_a_document_says_what_it_is(document: dict[str, Any], shown: str) -> None:
    assert repr(document) == shown


def test_spike_statistics_become_a_row_for_each_look_and_layer() -> None:
    frame = SpikeStatistics(layers=["layer1", "layer2"], looks=[LOOK]).to_frame()
    assert frame.to_dict("records") == [
        {"step": 7, "layer": "layer1", "firing_rate": 0.1},
        {"step": 7, "layer": "layer2", "firing_rate": 0.2},
    ]


def test_without_pandas_a_data_frame_is_refused_with_what_to_install() -> None:
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        "from saf.client.documents import Metrics\n"
        "Metrics(series=[]).to_frame()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install pandas" in done.stderr.splitlines()[-1]
    assert Metrics(series=[])["series"] == []
