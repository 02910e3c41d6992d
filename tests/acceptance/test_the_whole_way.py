"""Over HTTP alone: upload, submit, watch, download, run."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saf
from saf.data import digits
from tests.acceptance import real_digits
from tests.acceptance.conftest import Service


def test_a_digits_job_ends_with_a_network_that_runs_as_certified(
    service: Service, tmp_path: Path
) -> None:
    job_id = service.submit(
        name="the whole way", dataset="digits", metadata={"team": "vision"}, epochs=8
    )
    job = service.wait(job_id)
    assert job["status"] == "succeeded", service.logs(job_id)
    assert job["progress"]["fraction"] == 1.0
    names = {entry["name"]: entry for entry in service.get(f"/v1/jobs/{job_id}/artifacts")["data"]}
    assert {"lif.safetensors", "certificate.json", "report.json"} <= set(names)
    assert any(entry["kind"] == "checkpoint" for entry in names.values())

    file = service.download(job_id, "lif.safetensors", tmp_path / "lif.safetensors")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == names["lif.safetensors"]["sha256"]
    data = digits()
    network = saf.load_lif(file)
    scores = network(torch.from_numpy(data.x_test).float() / 255)
    accuracy = float((scores.argmax(1).numpy() == data.y_test).mean())
    assert accuracy >= 0.95
    certificate = json.loads(
        service.download(job_id, "certificate.json", tmp_path / "certificate.json").read_text()
    )
    assert certificate["verdict"] == "measured"
    assert job["best_accuracy"] is not None
    report = json.loads(
        service.download(job_id, "report.json", tmp_path / "report.json").read_text()
    )
    assert report["specification"]["metadata"] == {"team": "vision"}

    found = service.get("/v1/jobs", **{"metadata[team]": "vision"})["data"]
    assert [entry["id"] for entry in found] == [job_id]
    metrics = service.get(f"/v1/jobs/{job_id}/metrics", names="loss", max_points=100)
    (loss,) = metrics["series"]
    assert loss["count"] == job["progress"]["steps_total"]
    assert len(loss["points"]) <= 100
    events = service.get(f"/v1/jobs/{job_id}/events")["data"]
    types = [event["type"] for event in events]
    assert [t for t in types if t in ("queued", "starting", "running", "converting")] == [
        "queued",
        "starting",
        "running",
        "converting",
    ]
    assert types[-1] == "succeeded"


@pytest.mark.parametrize(
    ("format_", "content", "shape", "counts"),
    [
        ("idx", real_digits.as_idx_zip, [1, 8, 8], (1000, 300)),
        ("image-folder", real_digits.as_image_folder_zip, [1, 8, 8], (600, 200)),
    ],
)
def test_an_uploaded_data_set_is_trained_on_downloaded_and_run(
    service: Service,
    tmp_path: Path,
    format_: str,
    content: object,
    shape: list[int],
    counts: tuple[int, int],
) -> None:
    assert callable(content)
    response = service.http.post("/v1/datasets", files={"file": (f"{format_}.zip", content())})
    assert response.status_code == 201, response.text
    dataset = response.json()
    assert (dataset["status"], dataset["format"]) == ("ready", format_)
    assert dataset["shape"] == shape
    assert (dataset["counts"]["train"], dataset["counts"]["test"]) == counts
    job_id = service.submit(dataset=dataset["id"], epochs=7, batch_size=64)
    job = service.wait(job_id)
    assert job["status"] == "succeeded", service.logs(job_id)
    network = saf.load_lif(service.download(job_id, "lif.safetensors", tmp_path / "n.safetensors"))
    data = digits()
    scores = network(torch.from_numpy(data.x_test[: counts[1]]).float() / 255)
    assert float(np.mean(scores.argmax(1).numpy() == data.y_test[: counts[1]])) >= 0.9


def test_images_are_read_row_by_row_from_the_request_to_the_downloaded_network(
    service: Service, tmp_path: Path
) -> None:
    asked = {
        "dataset": "digits",
        "input": {"present": "rows"},
        "network": {"name": "rnn", "features": [32]},
        "method": {"name": "saf-e"},
        "epochs": 3,
    }
    refused = service.http.post("/v1/jobs", json={**asked, "timesteps": 6})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/timesteps")
    assert "set timesteps to 8" in refused.json()["errors"][0]["detail"]
    refused = service.http.post("/v1/jobs", json={**asked, "network": {"name": "convnet"}})
    assert "sequences of 8 values" in refused.json()["errors"][0]["detail"]

    job_id = service.submit(**asked)
    job = service.wait(job_id)
    assert job["status"] == "succeeded", service.logs(job_id)
    assert job["specification"]["timesteps"] == 8
    assert job["specification"]["input"]["present"] == "rows"
    network = saf.load_lif(service.download(job_id, "lif.safetensors", tmp_path / "n.safetensors"))
    data = digits()
    scores = network(torch.from_numpy(data.x_test).float() / 255)
    right = float(np.mean(scores.argmax(1).numpy() == data.y_test))
    assert right == pytest.approx(job["lif_accuracy"])
    assert right > 0.3  # chance: 0.1
    predicted = service.http.post(f"/v1/jobs/{job_id}/predict", json={"sample": 4}).json()
    assert len(predicted["scores"]) == 8
    assert predicted["predicted"] == int(scores[4].argmax())
    image = io.BytesIO()
    Image.fromarray(data.x_test[4, 0]).save(image, "PNG")
    as_png = service.http.post(
        f"/v1/jobs/{job_id}/predict",
        content=image.getvalue(),
        headers={"content-type": "image/png"},
    ).json()
    assert as_png["scores"] == predicted["scores"]
    sample = service.get(f"/v1/jobs/{job_id}/samples/4")
    assert sample["shape"] == [1, 8, 8]
    page = service.http.get(f"/jobs/{job_id}").text
    assert "torch.rand(1, 1, 8, 8)" in page

    with (tmp_path / "n.safetensors").open("rb") as file:
        uploaded = service.http.post("/v1/networks", files={"file": file}).json()
    assert (uploaded["shape"], uploaded["frames"]) == ([1, 8, 8], False)
    assert uploaded["settings"]["input"] == {"present": "rows"}
    checked = service.http.post(
        "/v1/jobs?validate_only=true",
        json={"dataset": "digits", "init": {"network": uploaded["id"]}},
    )
    assert checked.status_code == 200, checked.text
    assert checked.json()["specification"]["input"]["present"] == "rows"


def test_a_running_job_is_cancelled_and_leaves_no_process(service: Service) -> None:
    job_id = service.submit(dataset="digits", epochs=200)
    service.wait(job_id, "running", step=5)
    assert service.http.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    service.wait(job_id, "cancelled")
    marker = job_id.encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        assert marker not in command
    assert service.http.post(f"/v1/jobs/{job_id}/cancel").status_code == 409
    assert service.http.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert service.http.get(f"/v1/jobs/{job_id}").status_code == 404


def test_a_paused_job_goes_on_where_it_stopped(service: Service) -> None:
    job_id = service.submit(dataset="digits", epochs=10)
    service.wait(job_id, "running", step=20)
    assert service.http.post(f"/v1/jobs/{job_id}/pause").status_code == 200
    paused = service.wait(job_id, "paused")
    assert paused["progress"]["step"] >= 20
    assert service.http.post(f"/v1/jobs/{job_id}/resume").status_code == 200
    done = service.wait(job_id)
    assert done["status"] == "succeeded"
    assert done["attempt"] == 2
    (loss,) = service.get(f"/v1/jobs/{job_id}/metrics", names="loss", max_points=100000)["series"]
    steps = [step for step, _ in loss["points"]]
    assert steps == list(range(1, done["progress"]["steps_total"] + 1))
