"""Wrong input gets a clear 4xx problem that names the field and the remedy; never a 500."""

from __future__ import annotations

import io
import tarfile
import zipfile
from typing import Any

import numpy as np
import pytest

from tests.acceptance.conftest import Service
from tests.acceptance.real_digits import as_idx_zip, idx, png


def problem(response: Any, pointer: str) -> dict[str, Any]:
    assert 400 <= response.status_code < 500, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(body)
    assert pointer in [error["pointer"] for error in body.get("errors", [])], body
    return body


@pytest.mark.parametrize(
    ("change", "pointer", "remedy"),
    [
        ({"epoch": 3}, "/epoch", ""),
        ({"neuron": {"decay": 2}}, "/neuron/decay", "1"),
        ({"network": {"name": "convnet", "pooling": "max"}}, "/network/pooling", "average"),
        ({"dataset": "imagenet"}, "/dataset", "digits"),
        ({"timesteps": 0}, "/timesteps", "1"),
        ({"batch_size": 5_000_000}, "/batch_size", "batch"),
        ({"method": {"name": "saf-x"}}, "/method", "saf-f"),
        ({"network": {"name": "vgg11"}}, "/network", "16"),
        ({"metadata": {"a": 1}}, "/metadata/a", "string"),
        ({"seed": -1}, "/seed", "0"),
    ],
)
def test_a_specification_that_cannot_work_is_refused(
    service: Service, change: dict[str, Any], pointer: str, remedy: str
) -> None:
    body = problem(service.http.post("/v1/jobs", json={"dataset": "digits", **change}), pointer)
    details = " ".join(error["detail"] for error in body["errors"])
    assert remedy in details


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"nonsense", b"\xff\xfe", b'{"seed": NaN}'])
def test_a_body_that_is_no_specification_is_refused(service: Service, body: bytes) -> None:
    response = service.http.post(
        "/v1/jobs", content=body, headers={"content-type": "application/json"}
    )
    assert response.status_code in (400, 422), response.text
    assert response.headers["content-type"] == "application/problem+json"


def bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("train/a/0.png", "w") as member:
            for _ in range(300):
                member.write(bytes(2**20))
        for name in ("a/1", "b/0", "b/1"):
            archive.writestr(f"train/{name}.png", png(np.zeros((8, 8), np.uint8)))
    return buffer.getvalue()


def climbing() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../train/a/0.png", png(np.zeros((8, 8), np.uint8)))
    return buffer.getvalue()


def no_image() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for split in ("train", "test"):
            archive.writestr(f"{split}/a/0.png", png(np.zeros((8, 8), np.uint8)))
            archive.writestr(f"{split}/b/0.png", b"this is no image")
    return buffer.getvalue()


def truncated_idx() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        files = {
            "train-images-idx3-ubyte": idx(np.zeros((20, 8, 8)))[:-100],
            "train-labels-idx1-ubyte": idx(np.arange(20) % 10),
            "t10k-images-idx3-ubyte": idx(np.zeros((10, 8, 8))),
            "t10k-labels-idx1-ubyte": idx(np.arange(10)),
        }
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def labels_out_of_range() -> bytes:
    buffer = io.BytesIO()
    x = np.zeros((4, 1, 8, 8), np.uint8)
    y = np.array([0, 1, 2, -3])
    np.savez(buffer, x_train=x, y_train=y, x_test=x, y_test=y)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("bomb.zip", bomb, "train/a/0.png"),
        ("climbing.zip", climbing, ".."),
        ("none.zip", no_image, "b/0.png"),
        ("short.tar.gz", truncated_idx, "train-images-idx3-ubyte"),
        ("labels.npz", labels_out_of_range, "-3"),
        ("empty.zip", lambda: b"", ""),
        ("pickle.pkl", lambda: b"cos\nsystem\n(S'true'\ntR.", ""),
    ],
)
def test_a_broken_or_hostile_upload_is_refused(
    service: Service, name: str, content: Any, says: str
) -> None:
    response = service.http.post("/v1/datasets", files={"file": (name, content())})
    body = problem(response, "/file")
    assert says in str(body), body
    listed = service.get("/v1/datasets")["data"]
    assert all(entry["status"] == "ready" for entry in listed)


def test_images_that_a_network_cannot_take_are_refused_at_submission(service: Service) -> None:
    buffer = io.BytesIO()
    x = np.full((8, 3, 128, 100), 255, np.uint8)
    y = np.arange(8) % 2
    np.savez_compressed(buffer, x_train=x, y_train=y, x_test=x, y_test=y)
    response = service.http.post(
        "/v1/datasets", files={"file": ("large.npz", buffer.getvalue())}, data={"name": "large"}
    )
    assert response.status_code == 201, response.text
    wish = {"dataset": "large", "network": {"name": "vgg11-f"}}
    answer = service.http.post("/v1/jobs", json=wish)
    body = problem(answer, "/network")
    assert "128" in str(body)


def test_the_same_name_twice_is_refused(service: Service) -> None:
    for expected in (201, 409):
        response = service.http.post(
            "/v1/datasets",
            files={"file": ("mine.zip", as_idx_zip(100, 50))},
            data={"name": "mine", "format": "auto"},
        )
        assert response.status_code == expected, response.text
