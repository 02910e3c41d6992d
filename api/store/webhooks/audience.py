"""Who is told by a webhook, and who may look at what was sent."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, not_, or_, select

from api.store import viewer
from api.store.accounts.tables import Membership, User
from api.store.webhooks.tables import MAILTO, Webhook


def may_be_told() -> ColumnElement[bool]:
    """The condition that the owner of a webhook may come in, and into its project."""
    owner = select(User.id).where(User.id == Webhook.owner_id, User.disabled_at.is_(None))
    member = select(Membership.user_id).where(
        Membership.project_id == Webhook.project_id, Membership.user_id == Webhook.owner_id
    )
    of_project = or_(
        *(Webhook.project_id.is_(None), member.exists()),
        owner.where(User.is_admin.is_(True)).exists(),
    )
    return or_(Webhook.owner_id.is_(None), and_(owner.exists(), of_project))


def is_mail() -> ColumnElement[bool]:
    """The condition that a webhook leads to a mail box."""
    return Webhook.url.startswith(MAILTO)


def is_confirmed() -> ColumnElement[bool]:
    """The condition that somebody at a mail box has said whose it is."""
    return or_(not_(is_mail()), Webhook.confirmed_at.is_not(None))


def may_look(webhook: Webhook) -> bool:
    """Whether the viewer may see the messages of a webhook that they see: those of a project tell
    of things of all its members, so that who has left it may remove the webhook, and no more."""
    found = viewer.current()
    if found is None or found.is_admin or webhook.project_id is None:
        return True
    return webhook.project_id in found.projects
