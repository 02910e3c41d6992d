"""Names of jobs as they are searched and sorted: without case, in any alphabet"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from api.store.search import folded

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

AT_ONCE = 1000


def upgrade() -> None:
    op.add_column(
        "jobs", sa.Column("folded_name", sa.Text(), nullable=False, server_default=sa.text("''"))
    )
    jobs = sa.table(
        "jobs",
        sa.column("id", sa.String),
        sa.column("name", sa.String),
        sa.column("folded_name", sa.Text),
    )
    connection = op.get_bind()
    change = (
        sa.update(jobs)
        .where(jobs.c.id == sa.bindparam("which"))
        .values(folded_name=sa.bindparam("folded"))
    )
    last = ""
    while True:
        query = sa.select(jobs.c.id, jobs.c.name).where(jobs.c.id > last, jobs.c.name != "")
        rows = connection.execute(query.order_by(jobs.c.id).limit(AT_ONCE)).all()
        if not rows:
            return
        last = rows[-1].id
        connection.execute(change, [{"which": row.id, "folded": folded(row.name)} for row in rows])


def downgrade() -> None:
    op.drop_column("jobs", "folded_name")
