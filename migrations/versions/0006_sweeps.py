"""Sweeps: many jobs from one request"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sweeps",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("request_sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweeps")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_sweeps_idempotency_key")),
    )
    op.add_column("jobs", sa.Column("sweep_id", sa.String(length=40), nullable=True))
    op.add_column("jobs", sa.Column("sweep_index", sa.Integer(), nullable=True))
    op.create_index(op.f("ix_jobs_sweep_id_sweep_index"), "jobs", ["sweep_id", "sweep_index"])


def downgrade() -> None:
    op.drop_index(op.f("ix_jobs_sweep_id_sweep_index"), table_name="jobs")
    op.drop_column("jobs", "sweep_index")
    op.drop_column("jobs", "sweep_id")
    op.drop_table("sweeps")
