"""A finished job is trained further, killed meanwhile; another one starts from its weights."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saf.training.checkpoint import Checkpoint
from tests.acceptance.conftest import Service
from tests.acceptance.test_kills import find

SMALL: dict[str, Any] = {
    "network": {"name": "convnet", "channels": [6, 6]},
    "timesteps": 2,
    "batch_size": 64,
    "seed": 1,
}


def checkpoint(service: Service, job_id: str, directory: Path) -> Checkpoint:
    path = directory / f"{job_id}.safetensors"
    return Checkpoint.read(service.download(job_id, "checkpoint.safetensors", path))


def go_on(service: Service, job_id: str, epochs: int) -> str:
    response = service.http.post(f"/v1/jobs/{job_id}/continue", json={"epochs": epochs})
    assert response.status_code == 201, response.text
    new: str = response.json()["id"]
    return new


def succeeded(service: Service, job_id: str) -> dict[str, Any]:
    job = service.wait(job_id)
    assert job["status"] == "succeeded", (job["error"], service.logs(job_id))
    return job


def numbers(saved: Checkpoint) -> list[tuple[float, float]]:
    """What each epoch came to, but for times."""
    return [(epoch["train_loss"], epoch["val_loss"]) for epoch in saved.progress.history]


def test_a_finished_job_goes_on_is_killed_and_lends_its_weights(
    own_service: Service, tmp_path: Path
) -> None:
    service = own_service
    first = service.submit(dataset="digits", epochs=3, **SMALL)
    done = succeeded(service, first)["progress"]["step"]
    per_epoch = done // 3

    undisturbed, killed = go_on(service, first, 20), go_on(service, first, 20)
    succeeded(service, undisturbed)
    service.wait(killed, "running", step=done + 3 * per_epoch)
    os.kill(find(service, "worker.processes.child"), signal.SIGKILL)
    job = succeeded(service, killed)
    assert (job["progress"]["step"], job["continues"]) == (23 * per_epoch, first)
    one, other = (checkpoint(service, each, tmp_path) for each in (undisturbed, killed))
    assert job["attempt"] == 2
    for name, weight in one.weights.items():
        assert torch.equal(weight, other.weights[name]), name
    assert numbers(one) == numbers(other)
    (series,) = service.get(f"/v1/jobs/{killed}/metrics", names="loss", max_points=10**5)["series"]
    steps = [step for step, _ in series["points"]]
    assert steps == list(range(done + 1, 23 * per_epoch + 1))

    content = io.BytesIO()
    y = np.arange(90) % 3
    x = np.random.default_rng(0).integers(0, 256, (90, 1, 8, 8)).astype(np.uint8)
    x[np.arange(90), 0, :, 2 * y] += 150
    np.savez(content, x_train=x, y_train=y, x_test=x[:30], y_test=y[:30])
    file = {"file": ("mine.npz", content.getvalue())}
    assert service.http.post("/v1/datasets", files=file, data={"name": "mine"}).status_code == 201
    init = {"job": killed, "freeze": ["layer1"]}
    third = service.submit(dataset="mine", epochs=4, init=init, **SMALL)
    assert service.http.delete(f"/v1/jobs/{killed}").status_code == 204
    succeeded(service, third)
    found = checkpoint(service, third, tmp_path)
    source = other.best or other.weights
    assert found.weights["readout.bias"].shape == (3,)
    for name, weight in found.weights.items():
        if name.startswith("layer"):
            assert torch.equal(weight, source[name]) == name.startswith("layer1."), name
