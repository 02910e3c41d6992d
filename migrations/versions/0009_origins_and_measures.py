"""The request that a job came with, and what workers measure"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("origin", sa.JSON(), nullable=True))
    op.add_column("workers", sa.Column("measures", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("workers", "measures")
    op.drop_column("jobs", "origin")
