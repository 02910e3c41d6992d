"""Which job a job trains further"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("continues", sa.String(length=40), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "continues")
