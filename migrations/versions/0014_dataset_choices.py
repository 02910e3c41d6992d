"""How an upload is to be read: what it leaves open, what was said, pictures of the candidates"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("settings", "questions", "answer"):
        op.add_column("datasets", sa.Column(name, sa.JSON(), nullable=True))
    op.create_table(
        "candidate_pictures",
        sa.Column("dataset_id", sa.String(length=40), nullable=False),
        sa.Column("question", sa.Integer(), nullable=False),
        sa.Column("candidate", sa.Integer(), nullable=False),
        sa.Column("picture", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name="fk_candidate_pictures_dataset_id_datasets",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "dataset_id", "question", "candidate", name="pk_candidate_pictures"
        ),
    )


def downgrade() -> None:
    op.drop_table("candidate_pictures")
    for name in ("answer", "questions", "settings"):
        op.drop_column("datasets", name)
