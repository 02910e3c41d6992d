"""Who submitted a job, to count what waits and what came in the last hour"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("submitted_by", sa.String(length=64), nullable=True))
    op.create_index(op.f("ix_jobs_submitted_by_created_at"), "jobs", ["submitted_by", "created_at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_jobs_submitted_by_created_at"), table_name="jobs")
    op.drop_column("jobs", "submitted_by")
