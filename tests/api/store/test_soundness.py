"""Rows that the service writes are sound, or `saf restore` would refuse them."""

from __future__ import annotations

from api.store.accounts import audit, keys, projects, users
from api.store.database import Database, now
from api.store.ids import new_id
from api.store.soundness import unsound_rows
from api.store.webhooks import outbox
from api.store.webhooks.tables import Webhook


def test_rows_of_accounts_and_webhooks_are_sound(database: Database) -> None:
    with database.writing() as session:
        user = users.add(session, "ada")
        keys.add(session, user, "laptop", days=3)
        project = projects.add(session, "vision", admin=user)
        hook = Webhook(
            id=new_id("whk"),
            url="https://example.org/",
            events=["job.failed"],
            secret="whsec_AAAA",
            created_at=now(),
            project_id=project.id,
        )
        session.add(hook)
        session.flush()
        outbox.put_test(session, hook)
        audit.append(
            session,
            user="ada",
            user_id=user.id,
            key_id=None,
            address="::1",
            action="POST /v1/keys",
            thing_id=None,
            status=201,
            request_id="req_1",
        )
    with database.reading() as session:
        assert list(unsound_rows(session.connection())) == []
