"""Previews of data sets"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dataset_previews",
        sa.Column("dataset_id", sa.String(length=40), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("layout", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name=op.f("fk_dataset_previews_dataset_id_datasets"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["sha256"], ["blobs.sha256"], name=op.f("fk_dataset_previews_sha256_blobs")
        ),
        sa.PrimaryKeyConstraint("dataset_id", name=op.f("pk_dataset_previews")),
    )
    op.create_index(op.f("ix_dataset_previews_sha256"), "dataset_previews", ["sha256"])


def downgrade() -> None:
    op.drop_table("dataset_previews")
