"""Who uploaded a data set"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("datasets", sa.Column("uploaded_by", sa.String(length=64), nullable=True))


def downgrade() -> None:
    op.drop_column("datasets", "uploaded_by")
