"""Which database this is, and which files were found damaged"""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    identity = op.create_table(
        "identity",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity")),
    )
    op.bulk_insert(identity, [{"id": str(uuid.uuid4())}])
    op.add_column("blobs", sa.Column("damaged_at", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("blobs", "damaged_at")
    op.drop_table("identity")
