"""Webhooks at which nothing arrives; sweeps whose jobs end"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("webhooks", sa.Column("failing_since", sa.Double(), nullable=True))
    op.add_column("webhooks", sa.Column("disabled_why", sa.Text(), nullable=True))
    op.create_table(
        "sweep_news",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("sweep_id", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sweep_news"),
    )
    op.create_index(op.f("ix_sweep_news_sweep_id"), "sweep_news", ["sweep_id"])


def downgrade() -> None:
    op.drop_table("sweep_news")
    op.drop_column("webhooks", "disabled_why")
    op.drop_column("webhooks", "failing_since")
