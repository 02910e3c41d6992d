"""Real trainings of scikit-learn's digits under a worker."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from api.settings import Settings
from api.store.runs import logs
from api.store.tables.jobs import Job, Status
from api.store.tables.uploads import Dataset
from saf.data import digits, save
from saf.networks.convnet import ConvNet
from tests.saf.training.trainings import resolved
from tests.waiting import join
from tests.worker.conftest import Crew, Desk
from worker.processes.process import TRAINING

HELD = (sys.executable, str(Path(__file__).parents[1] / "held_training.py"))
SMALL = resolved(network=ConvNet(channels=(8, 8)), epochs=8, batch_size=64, timesteps=3)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def thrifty(settings: Settings) -> Settings:
    """A thread or so for each training: the machines that run tests are busy."""
    return settings.model_copy(update={"worker_slots": 2})


def points(desk: Desk, job_id: str) -> dict[str, int]:
    return {name: len(steps) for name, steps in desk.steps(job_id).items()}


def test_killed_digits_training_ends_with_the_weights_of_the_undisturbed_one(
    desk: Desk, crew: Crew, settings: Settings
) -> None:
    undisturbed = desk.submit(SMALL)
    crew.hire(thrifty(settings), TRAINING).work()
    first = desk.job(undisturbed)
    with desk.database.reading() as session:
        assert first.status == Status.succeeded, logs.read(session, undisturbed).text
    assert first.steps_total is not None
    per_epoch = first.steps_total // SMALL.epochs

    disturbed = desk.submit(SMALL)
    thread = crew.message(crew.hire(thrifty(settings), HELD))
    desk.wait_for_step(disturbed, per_epoch + 1)
    for pid in desk.trainees(disturbed):
        os.kill(pid, signal.SIGKILL)
    join(thread)

    second = desk.job(disturbed)
    assert second.status == Status.succeeded
    assert second.attempt == 2
    assert second.started_step == per_epoch
    assert (
        desk.artifacts(disturbed)["lif.safetensors"]
        == desk.artifacts(undisturbed)["lif.safetensors"]
    )
    of_both = [desk.steps(job) for job in (disturbed, undisturbed)]
    for steps in of_both:
        del steps["memory_bytes"], steps["device_use"]  # about once a second, of the machine
    assert of_both[0] == of_both[1]
    assert points(desk, disturbed)["loss"] == first.steps_total
    assert set(desk.artifacts(disturbed)) == {
        "lif.safetensors",
        "certificate.json",
        "report.json",
        "checkpoint.safetensors",
    }
    report = json.loads(desk.artifacts(disturbed)["report.json"])
    assert desk.events(disturbed)[-1].data["summary"] == report["summary"]


def test_an_uploaded_data_set_is_read_from_the_store(
    desk: Desk, crew: Crew, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "digits"
    save(digits(), file)
    job_id = desk.submit(SMALL.model_copy(update={"epochs": 1}))
    with desk.database.writing() as session:
        sha256 = desk.store.keep(session, desk.store.receive(file))
        session.add(
            Dataset(
                id="ds_1",
                name="mine",
                format="npz",
                status="ready",
                problems=[],
                summary=None,
                upload_bytes=1,
                sha256=sha256,
                created_at=0.0,
            )
        )
        session.flush()
        session.get_one(Job, job_id).dataset_id = "ds_1"

    crew.hire(thrifty(settings), TRAINING).work()

    job = desk.job(job_id)
    assert job.status == Status.succeeded, job.error


def test_a_specification_that_cannot_work_is_told_apart_from_a_defect(
    desk: Desk, crew: Crew, settings: Settings
) -> None:
    job_id = desk.submit(resolved(dataset="there-is-none"))

    crew.hire(thrifty(settings), TRAINING).work()

    error = desk.job(job_id).error
    assert error is not None
    assert error["code"] == "data"
    assert "digits" in error["hint"]
