"""When a worker last took a job of a user, to take turns"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("served_at", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("users", "served_at")
