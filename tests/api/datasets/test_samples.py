"""Series, event frames and recordings as data sets, and networks that cannot take them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api.datasets.queries import find_facts
from saf.data import Dataset as SavedDataset
from saf.data import save
from tests.api.conftest import Server
from tests.api.datasets.uploading import row, upload
from tests.api.web.test_problems import check


@pytest.mark.parametrize(
    ("summary", "change", "pointer", "says"),
    [
        ({"timesteps": 4}, {"timesteps": 6}, "/timesteps", "set timesteps to 4"),
        (
            {"timesteps": 4, "dtype": "float32"},
            {"timesteps": 4, "conversion": {"grid_bits": 8}},
            "/conversion/grid_bits",
            "set grid_bits to null",
        ),
        ({"shape": [3, 12, 128]}, {"network": {"name": "vgg11"}}, "/network", "12 × 128"),
        ({"shape": [65, 8, 8]}, {}, "/network", "1 to 64 channels"),
        ({"classes": 20_000}, {}, "/dataset", "2 to 10000 classes"),
    ],
)
def test_a_data_set_that_the_network_cannot_take_is_refused(
    shared: Server, summary: dict[str, Any], change: dict[str, Any], pointer: str, says: str
) -> None:
    name = f"{pointer[1:]} {says[:20]}".replace("×", "x")
    row(shared, id=f"ds_{abs(hash(name))}", name=name, summary=summary)
    body = check(shared.http.post("/v1/jobs", json={"dataset": name, **change}), 422)
    assert body["errors"][0]["pointer"] == pointer
    assert says in body["errors"][0]["detail"]


def test_event_frames_of_the_right_number_are_accepted(shared: Server) -> None:
    row(shared, id="ds_events", name="events", summary={"timesteps": 4, "shape": [2, 16, 16]})
    shared.submit(dataset="events", timesteps=4)
    shared.submit(dataset="events", timesteps=4, conversion={"grid_bits": "auto"})


def canonical(tmp_path: Path, x: np.ndarray, unit: int = 255) -> bytes:
    y = np.arange(len(x)) % 2
    saved = SavedDataset(x, y, x[:4], y[:4], ("a", "b"), unit=unit)
    save(saved, tmp_path / "d.safetensors")
    return (tmp_path / "d.safetensors").read_bytes()


def test_series_are_kept_and_shown_and_a_job_on_them_needs_a_network_for_them(
    shared: Server, tmp_path: Path
) -> None:
    x = np.random.default_rng(1).normal(size=(8, 12, 3)).astype(np.float32)
    found = upload(shared, canonical(tmp_path, x), "series.safetensors", name="series").json()
    assert (found["status"], found["kind"]) == ("ready", "series")
    assert (found["shape"], found["timesteps"]) == ([3, 1, 1], 12)
    page = shared.http.get("/datasets/series").text
    assert "One series" in page
    assert "12 time steps" in page
    assert shared.http.get("/v1/datasets/series/preview.png").status_code == 200
    for changes, pointer, said in (
        ({"network": {"name": "convnet"}}, "/network", "use mlp"),
        ({"timesteps": 6}, "/timesteps", "set timesteps to 12"),
        ({"conversion": {"grid_bits": 8}}, "/conversion/grid_bits", "series of any values"),
        ({"augment": ["flip"]}, "/augment/0", "flip changes the places of pixels"),
    ):
        body = {"dataset": "series", "network": {"name": "mlp"}, **changes}
        problem = check(shared.http.post("/v1/jobs", json=body), 422)
        assert problem["errors"][0]["pointer"] == pointer
        assert said in problem["detail"]
    body = {"dataset": "series", "network": {"name": "mlp"}}
    told = shared.http.post("/v1/jobs", params={"validate_only": True}, json=body).json()
    assert told["specification"]["timesteps"] == 12
    assert {"pointer": "/timesteps", "value": 12} in told["automatic"]
    assert told["neurons"] == 1024
    job = shared.http.post("/v1/jobs", json=body).json()
    page = shared.http.get(f"/jobs/{job['id']}").text
    assert 'accept=".csv,.txt,.npy"' in page
    assert "A row for each time step, 12; a column for each of 3 channels" in page
    assert shared.http.post(f"/v1/jobs/{job['id']}/cancel").status_code in (200, 202)


def test_features_are_called_so_and_nobody_is_asked_to_draw_one(
    shared: Server, tmp_path: Path
) -> None:
    x = np.random.default_rng(1).random((8, 5, 1, 1)).astype(np.float32)
    found = upload(shared, canonical(tmp_path, x, 1), "f.safetensors", name="features").json()
    assert (found["status"], found["shape"]) == ("ready", [5, 1, 1])
    page = shared.http.get("/datasets/features").text
    assert "<dd>5 features</dd>" in page
    assert "<dt>Feature 0</dt>" in page
    assert "pixels" not in page
    assert "5 features" in shared.http.get("/datasets").text
    problem = check(
        shared.http.post("/v1/jobs", json={"dataset": "features", "augment": ["crop"]}), 422
    )
    assert "holds features" in problem["detail"]
    job = shared.http.post("/v1/jobs", json={"dataset": "features"}).json()
    page = shared.http.get(f"/jobs/{job['id']}").text
    assert "Draw, drop" not in page
    assert "Take a sample" in page
    assert shared.http.post(f"/v1/jobs/{job['id']}/cancel").status_code in (200, 202)


@pytest.mark.parametrize(("unit", "is_bounded"), [(1, False), (255, True)])
def test_event_frames_in_bytes_are_bounded_where_they_are_no_counts(
    shared: Server, tmp_path: Path, unit: int, is_bounded: bool
) -> None:
    x = np.random.default_rng(2).poisson(1.0, (8, 4, 2, 5, 6)).astype(np.uint8)
    name = f"events-{unit}"
    sent = upload(shared, canonical(tmp_path, x, unit), "events.safetensors", name=name)
    assert sent.json()["kind"] == "events"
    with shared.service.database.reading() as session:
        assert find_facts(session, name).is_bounded is is_bounded


def recordings() -> bytes:
    """N-MNIST's layout: three recordings of each of two digits, 40 events each."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for split, rows in (("Train", range(3)), ("Test", range(3, 5))):
            for digit in range(2):
                for index in rows:
                    content = b"".join(
                        bytes([4 * digit + index, 7, (t % 2) << 7, t, 0]) for t in range(40)
                    )
                    archive.writestr(f"{split}/{digit}/{index:05d}.bin", content)
    return buffer.getvalue()


def test_recordings_of_events_are_binned_as_the_form_says_and_tell_how(shared: Server) -> None:
    said = {"timesteps": "4", "bin_by": "count", "size": "17x17"}
    found = upload(shared, recordings(), "NMNIST.zip", name="nmnist", **said).json()
    assert (found["status"], found["kind"], found["format"]) == ("ready", "events", "event-bin")
    assert (found["shape"], found["timesteps"]) == ([2, 17, 17], 4)
    decided = {each["setting"]: each["value"] for each in found["decisions"]}
    assert decided["bin_by"] == "count"
    assert decided["sensor"] == "34x34"
    assert shared.http.get("/v1/datasets/nmnist/preview").json()["steps"] == [1, 2, 3, 4]
    job = shared.http.post("/v1/jobs", json={"dataset": "nmnist", "timesteps": 4})
    assert job.status_code == 201, job.text
    refused = upload(shared, recordings(), "b.zip", name="nmnist-2", bin_by="colour")
    assert "bin_by" in refused.text
