"""What is asked of the database about uploaded networks."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.errors import InvalidRequestError, NotFoundError
from api.networks.schemas import NetworkDocument
from api.store.tables.base import Blob
from api.store.tables.uploads import UploadedNetwork
from api.web.asgi import prefix
from api.web.caller import Belonging, Names, conditions
from api.web.schemas import iso


def find_networks(
    session: Session, *, limit: int, after: str = "", of: Belonging | None = None
) -> tuple[list[NetworkDocument], bool]:
    """Up to `limit` uploaded networks, the newest first; and whether there are more."""
    query = select(UploadedNetwork).where(*conditions(UploadedNetwork, of))
    if after:
        query = query.where(UploadedNetwork.id < after)
    rows = session.scalars(query.order_by(UploadedNetwork.id.desc()).limit(limit + 1)).all()
    return documents(session, rows[:limit]), len(rows) > limit


def read_network(session: Session, network_id: str) -> NetworkDocument:
    """The uploaded network of that id, or NotFoundError."""
    return documents(session, [existing(session, network_id)])[0]


def existing(session: Session, network_id: str, *, lock: bool = False) -> UploadedNetwork:
    """The row of an uploaded network, or NotFoundError; with `lock` nobody else deletes it until
    the transaction ends."""
    row = session.get(UploadedNetwork, network_id, with_for_update=lock or None)
    if row is None:
        raise NotFoundError(f"there is no uploaded network {network_id[:64]}")
    return row


def starting_network(session: Session, network_id: str) -> UploadedNetwork:
    """The network that `init` of a specification names. Raises InvalidRequestError where there is
    none, or its file is damaged."""
    row = session.get(UploadedNetwork, network_id)
    if row is None:
        raise InvalidRequestError.at(
            "/init/network",
            f"there is no uploaded network {network_id}; GET /v1/networks/uploaded lists them",
        )
    if _damaged(session, [row]):
        raise InvalidRequestError.at(
            "/init/network",
            f"the file of network {network_id} is damaged in the artifact store; upload it again, "
            "under any name: it takes its place",
        )
    return row


def documents(session: Session, rows: Sequence[UploadedNetwork]) -> list[NetworkDocument]:
    """Rows as they are sent."""
    damaged = _damaged(session, rows)
    names = Names(session, ((row.owner_id, row.project_id) for row in rows))
    found = []
    for row in rows:
        owner, project = names.of(row.owner_id, row.project_id)
        found.append(
            NetworkDocument(
                id=row.id,
                name=row.name,
                bytes=row.bytes,
                sha256=row.sha256,
                damaged=row.sha256 in damaged,
                **row.facts,
                settings=row.settings,
                created_at=iso(row.created_at),
                owner=owner,
                project=project,
                url=prefix.at(f"/v1/networks/{row.id}"),
            )
        )
    return found


def _damaged(session: Session, rows: Sequence[UploadedNetwork]) -> set[str]:
    """The hashes of those of their files that are damaged."""
    hashes = [row.sha256 for row in rows]
    query = select(Blob.sha256).where(Blob.sha256.in_(hashes), Blob.damaged_at.is_not(None))
    return set(session.scalars(query))
