"""What the check of a job's LIF network came to, and how far a check under way is"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("lif_accuracy", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("verdict", sa.String(length=20), nullable=True))
    op.add_column("jobs", sa.Column("rounding_cost_points", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("checked", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("to_check", sa.Integer(), nullable=True))
    _fill()


def _fill() -> None:
    """From the timelines of the jobs that have succeeded."""
    jobs = sa.table(
        "jobs",
        sa.column("id", sa.String()),
        sa.column("lif_accuracy", sa.Double()),
        sa.column("verdict", sa.String()),
    )
    events = sa.table(
        "events",
        sa.column("job_id", sa.String()),
        sa.column("type", sa.String()),
        sa.column("data", sa.JSON()),
    )
    connection = op.get_bind()
    ended = connection.execute(
        sa.select(events.c.job_id, events.c.data).where(events.c.type == "succeeded")
    ).all()
    for job_id, data in ended:
        summary = (data or {}).get("summary") or {}
        connection.execute(
            jobs.update()
            .where(jobs.c.id == job_id)
            .values(lif_accuracy=summary.get("lif_accuracy"), verdict=summary.get("verdict"))
        )


def downgrade() -> None:
    for name in ("to_check", "checked", "rounding_cost_points", "verdict", "lif_accuracy"):
        op.drop_column("jobs", name)
