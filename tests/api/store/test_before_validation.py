"""Jobs that were stored before there were validation samples go on as they were."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text

from api.documents import job_document
from api.store.database import Database
from api.store.migrate import migrate
from api.store.tables import Job
from saf.config import ResolvedSpecification

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
    "epochs": 7,
    "batch_size": 32,
    "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.0},
    "max_gradient_norm": None,
    "seed": 3,
    "priority": 5,
    "metadata": {},
}
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
def before(database_url: str) -> Any:
    """A database of the version before."""
    database = Database(database_url)
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
