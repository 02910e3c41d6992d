"""When a job is tried again, in how many parts its batches are computed, and workers that drain"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("retry_at", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("micro_batches", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("inherited_step", sa.BigInteger(), nullable=True))
    op.add_column("workers", sa.Column("draining", sa.String(length=20), nullable=True))


def downgrade() -> None:
    op.drop_column("workers", "draining")
    op.drop_column("jobs", "inherited_step")
    op.drop_column("jobs", "micro_batches")
    op.drop_column("jobs", "retry_at")
