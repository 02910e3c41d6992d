"""One message at a time to a webhook, the oldest that is due"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None
OLD = "ix_webhook_deliveries_webhook_id"
NEW = "ix_webhook_deliveries_webhook_id_next_at"


def upgrade() -> None:
    op.add_column("webhooks", sa.Column("sending_until", sa.Double(), nullable=True))
    op.create_index(NEW, "webhook_deliveries", ["webhook_id", "next_at"])
    op.drop_index(OLD, "webhook_deliveries")


def downgrade() -> None:
    op.create_index(OLD, "webhook_deliveries", ["webhook_id"])
    op.drop_index(NEW, "webhook_deliveries")
    op.drop_column("webhooks", "sending_until")
