"""Notes, tags and favourites of sweeps and data sets"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None
TABLES = ("sweeps", "datasets")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("notes", sa.Text(), nullable=True))
        op.add_column(table, sa.Column("tags", sa.JSON(), nullable=True))
        op.add_column(table, sa.Column("favourite_at", sa.Double(), nullable=True))


def downgrade() -> None:
    for table in TABLES:
        for column in ("favourite_at", "tags", "notes"):
            op.drop_column(table, column)
