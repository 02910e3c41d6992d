"""Jobs that were stored before there were validation samples go on as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from api.jobs.schemas import job_document
from api.store.database import Database
from api.store.migrate import migrate
from api.store.tables.jobs import Job
from saf import tensorfile
from saf.config import JobSpecification, ResolvedSpecification
from saf.training.events import Checkpoint, Finished, Started, Step
from saf.training.loop import train
from tests.saf.training.trainings import dataset

BEFORE = "0011"
OLD: dict[str, Any] = {  # as that version stored it
    "name": "before",
    "dataset": "digits",
    "network": {"name": "convnet", "channels": [8]},
    "method": {"name": "saf-f", "readout": "weighted", "trace_bias_and_input": True},
    "neuron": {
        "decay": 0.5,
        "threshold": 1.0,
        "surrogate": {"name": "sigmoid", "slope": 4.0},
        "dropout": 0.0,
    },
    "timesteps": 4,
    "conversion": {"grid_bits": None},
    "epochs": 2,
    "batch_size": 8,
    "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.0},
    "max_gradient_norm": None,
    "seed": 3,
    "priority": 5,
    "metadata": {},
}
OLD_PROGRESS = ("step", "seconds", "earlier_seconds", "history", "sums", "compiled", "native")
OLD_PROGRESS += ("threads", "timesteps_at_once")  # type: ignore[assignment]
SPARSE: dict[str, Any] = {"dataset": "digits", "optimizer": {"name": "adamw"}}


def stored_before(database: Database, job_id: str, specification: str, status: str) -> None:
    error = json.dumps({"code": "data", "message": "no images", "hint": "send some"})
    row = {
        "id": job_id,
        "specification": specification,
        "status": status,
        "error": error if status == "failed" else None,
    }
    with database.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO jobs (id, name, folded_name, specification, method, network, dataset,"
                " priority, parameters, memory_bytes, status, attempt, losses, created_at,"
                " queued_at, step, epoch, started_step, latest, best_accuracy, error,"
                " events_count, version) VALUES (:id, '', '', :specification, 'saf-f', 'convnet',"
                " 'digits', 5, 1, 1, :status, 1, 0, 1.0, 1.0, 0, 0.0, 0, '{}', 0.5, :error, 1, 1)"
            ),
            row,
        )


@pytest.fixture
def before(empty_database_url: str) -> Any:
    """A database of the version before."""
    database = Database(empty_database_url)
    migrate(database, to=BEFORE)
    yield database
    database.dispose()


@pytest.mark.parametrize("status", ["queued", "running", "paused", "succeeded"])
def test_a_stored_job_keeps_what_it_was_submitted_with(before: Database, status: str) -> None:
    stored_before(before, "job_old", json.dumps(OLD), status)
    stored_before(before, "job_sparse", json.dumps(SPARSE), status)
    migrate(before)
    with before.reading() as session:
        old, sparse = session.get(Job, "job_old"), session.get(Job, "job_sparse")
        assert old is not None
        assert sparse is not None
        for key, value in OLD.items():
            if key not in ("network", "conversion"):
                assert old.specification[key] == value
        full = ResolvedSpecification.model_validate(old.specification)
        assert (full.validation_share, full.conversion.weights, full.network.gain) == (
            *(0.0, "last"),
            1.0,
        )
        other = ResolvedSpecification.model_validate(sparse.specification)
        assert (other.epochs, other.batch_size, other.max_gradient_norm) == (10, 128, None)
        assert (other.learning_rate, other.validation_share) == (0.001, 0.0)
        assert (other.network.name, other.network.gain) == ("convnet", 1.0)
        assert full.automatic == other.automatic == ()
        document = job_document(session, old)
    # What it called its best accuracy was one on the test samples.
    assert (document.health, document.findings, document.best_accuracy) == (None, [], None)


def test_a_job_that_failed_before_is_failed_in_its_health(before: Database) -> None:
    stored_before(before, "job_old", json.dumps(OLD), "failed")
    migrate(before)
    with before.reading() as session:
        job = session.get(Job, "job_old")
        assert job is not None
        assert job.health == "failed"


def test_what_a_job_had_come_to_before_is_in_its_result(before: Database) -> None:
    stored_before(before, "job_old", json.dumps(OLD), "succeeded")
    data = json.dumps({"summary": {"test_accuracy": 0.75, "train_accuracy": 1.0, "seconds": 1.0}})
    with before.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO events (job_id, sequence, type, attempt, at, data)"
                " VALUES ('job_old', 1, 'succeeded', 1, 1.0, :data)"
            ),
            {"data": data},
        )
    migrate(before)
    with before.reading() as session:
        job = session.get(Job, "job_old")
        assert job is not None
        result = job_document(session, job).result
    assert result is not None
    assert (result.test_accuracy, result.train_accuracy) == (0.75, 1.0)
    assert (result.val_accuracy, result.best_epoch) == (None, None)


@pytest.mark.parametrize("odd", ['{"network": 3}', '{"optimizer": []}', "[]", '"text"', "null"])
def test_a_specification_that_is_none_does_not_stop_the_migration(
    before: Database, odd: str
) -> None:
    stored_before(before, "job_odd", odd, "queued")
    stored_before(before, "job_old", json.dumps(OLD), "queued")
    migrate(before)
    with before.reading() as session:
        job = session.get(Job, "job_old")
        assert job is not None
        assert job.specification["validation_share"] == 0.0


def test_a_job_that_was_paused_before_ends_as_it_would_have(
    before: Database, tmp_path: Path
) -> None:
    stored_before(before, "job_old", json.dumps(OLD), "paused")
    migrate(before)
    with before.reading() as session:
        job = session.get(Job, "job_old")
        assert job is not None
        specification = JobSpecification.model_validate(job.specification)
    data, steps = dataset(), []  # type: ignore[var-annotated]
    whole = list(train(specification, data, tmp_path / "whole", device="cpu"))

    def stop() -> bool:
        return len(steps) == 5

    for report in train(specification, data, tmp_path / "part", device="cpu", stop=stop):
        if isinstance(report, Step):
            steps.append(report.step)
        if isinstance(report, Checkpoint):
            left = report.path
    tensors, header = tensorfile.read(left)
    progress = {name: header["progress"][name] for name in OLD_PROGRESS}
    progress["history"] = [{**epoch, "test_accuracy": 0.5} for epoch in progress["history"]]
    old = {**header, "format": "saf-checkpoint/1", "specification": OLD, "progress": progress}
    tensorfile.write(left, tensors, old)
    rest = list(train(specification, data, tmp_path / "part", device="cpu", resume_from=left))
    assert isinstance(rest[0], Started)
    assert 4 < rest[0].step == progress["step"] < 8
    ends = [reports[-1] for reports in (whole, rest)]
    assert all(isinstance(end, Finished) for end in ends)
    one, other = (end.summary for end in ends if isinstance(end, Finished))
    for name in ("test_accuracy", "lif_accuracy", "train_loss", "delivered_epoch"):
        assert one[name] == other[name]
    networks = [(tmp_path / which / "lif.safetensors").read_bytes() for which in ("whole", "part")]
    assert networks[0] == networks[1]
