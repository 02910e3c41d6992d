"""Limits of users and projects; attempts, and for whom they took a device"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None
ACTIVE = "('starting', 'running', 'converting', 'pausing', 'cancelling')"


def upgrade() -> None:
    op.create_table(
        "limits",
        sa.Column("subject_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("most", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("subject_id", "name", name="pk_limits"),
    )
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner_id", sa.String(length=40), nullable=True),
        sa.Column("project_id", sa.String(length=40), nullable=True),
        sa.Column("began_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "attempt", name="pk_attempts"),
    )
    for columns in (["ended_at"], ["owner_id", "ended_at"], ["project_id", "ended_at"]):
        op.create_index(f"ix_attempts_{'_'.join(columns)}", "attempts", columns)
    # What runs counts from its beginning; what ended before is not known any more.
    op.execute(
        "INSERT INTO attempts (job_id, attempt, owner_id, project_id, began_at) "
        "SELECT id, attempt, owner_id, project_id, coalesce(running_at, started_at, queued_at) "
        f"FROM jobs WHERE status IN {ACTIVE}"
    )


def downgrade() -> None:
    op.drop_table("attempts")
    op.drop_table("limits")
