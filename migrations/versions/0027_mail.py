"""E-mail: webhooks that lead to a mail box, and the address that a provider says of a user"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("email", sa.String(length=254), nullable=True))
    op.add_column("webhooks", sa.Column("confirmed_at", sa.Double(), nullable=True))
    each = sa.Column("sweep_jobs", sa.Boolean(), nullable=False, server_default=sa.true())
    op.add_column("webhooks", each)


def downgrade() -> None:
    op.drop_column("webhooks", "sweep_jobs")
    op.drop_column("webhooks", "confirmed_at")
    op.drop_column("users", "email")
