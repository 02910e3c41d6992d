"""Saved searches"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "searches",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("owner_id", sa.String(length=40), nullable=True),
        sa.Column("project_id", sa.String(length=40), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_searches"),
    )
    for column in ("owner_id", "project_id"):
        op.create_index(f"ix_searches_{column}", "searches", [column])


def downgrade() -> None:
    op.drop_table("searches")
