"""Health, findings and results of jobs; specifications of before there were validation samples"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from saf.config import as_before_validation

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

AT_ONCE = 500
COMPLETED: dict[str, Any] = {  # with the defaults that there were
    "epochs": 10,
    "batch_size": 128,
    "max_gradient_norm": None,
    "network": {"name": "convnet"},
    "optimizer": {"name": "sgd"},
}
OPTIMIZERS: dict[Any, dict[str, Any]] = {
    "sgd": {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.0},
    "adamw": {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0},
}
RESULT = ("test_accuracy", "train_accuracy")  # that summaries had


def upgrade() -> None:
    op.add_column("jobs", sa.Column("health", sa.String(length=10), nullable=True))
    op.add_column("jobs", sa.Column("findings", sa.JSON(), nullable=True))
    op.add_column("jobs", sa.Column("result", sa.JSON(), nullable=True))
    jobs = sa.table(
        "jobs",
        sa.column("id", sa.String()),
        sa.column("status", sa.String()),
        sa.column("specification", sa.JSON()),
        sa.column("best_accuracy", sa.Double()),
        sa.column("health", sa.String()),
        sa.column("result", sa.JSON()),
    )
    events = sa.table(
        "events",
        sa.column("job_id", sa.String()),
        sa.column("type", sa.String()),
        sa.column("data", sa.JSON()),
    )
    connection = op.get_bind()
    connection.execute(jobs.update().where(jobs.c.status == "failed").values(health="failed"))
    # As text: a specification that somebody damaged is left alone.
    for job_id, text in _rows(connection, jobs.c.id, sa.cast(jobs.c.specification, sa.Text())):
        before = _object(text)
        if before is None or "validation_share" in before:
            continue
        parts = (before.get(name, {}) for name in ("conversion", "network", "optimizer"))
        if not all(isinstance(part, dict) for part in parts):
            continue
        # The best accuracy was one on the test samples; there were no others.
        values = {"specification": _as_before(before), "best_accuracy": None}
        connection.execute(jobs.update().where(jobs.c.id == job_id).values(values))
    ended = sa.cast(events.c.data, sa.Text())
    for job_id, text in _rows(connection, events.c.job_id, ended, events.c.type == "succeeded"):
        summary = (_object(text) or {}).get("summary")
        if isinstance(summary, dict):
            result = {name: summary.get(name) for name in RESULT}
            connection.execute(jobs.update().where(jobs.c.id == job_id).values(result=result))


def downgrade() -> None:
    for name in ("result", "findings", "health"):
        op.drop_column("jobs", name)


def _rows(
    connection: sa.Connection, key: Any, value: Any, where: Any = True
) -> Iterator[Sequence[Any]]:
    """Pairs of `key` and `value`, by `key`."""
    last = ""
    while rows := connection.execute(
        sa.select(key, value).where(where, key > last).order_by(key).limit(AT_ONCE)
    ).all():
        yield from rows
        last = rows[-1][0]


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        found = json.loads(text or "null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _as_before(before: dict[str, Any]) -> dict[str, Any]:
    """What versions without validation samples did, also where a default was left out."""
    found = as_before_validation({**COMPLETED, **before})
    optimizer = found["optimizer"]
    name = optimizer.get("name", "sgd")
    found["optimizer"] = {"name": name, **OPTIMIZERS.get(name, {}), **optimizer}
    return found
