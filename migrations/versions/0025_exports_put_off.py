"""Exports that wait for a disk or the artifact store"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("exports", sa.Column("delays", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("exports", sa.Column("waits_for", sa.Text(), nullable=True))
    op.add_column("exports", sa.Column("retry_at", sa.Double(), nullable=True))


def downgrade() -> None:
    for column in ("retry_at", "waits_for", "delays"):
        op.drop_column("exports", column)
