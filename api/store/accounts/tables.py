"""The tables of accounts. Of a key or a session there is the SHA-256 alone: each is a random text
of 256 bits, which no list of words leads to."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from api.store.tables.base import Base


class User(Base):
    """Somebody who uses the service; never deleted, as what they did is remembered by it."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    is_admin: Mapped[bool]
    subject: Mapped[str | None] = mapped_column(String(255), unique=True)  # as a proxy names them
    oidc_issuer: Mapped[str | None] = mapped_column(String(500))
    oidc_subject: Mapped[str | None] = mapped_column(String(255))  # who they are to that provider
    email: Mapped[str | None] = mapped_column(String(254))  # that the provider has verified
    created_at: Mapped[float]
    disabled_at: Mapped[float | None]  # since then nothing of theirs opens anything
    served_at: Mapped[float | None]  # when a worker last took a job of theirs

    __table_args__ = (Index("ix_users_oidc", "oidc_issuer", "oidc_subject", unique=True),)


class ApiKey(Base):
    """A key by which programs come in."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(16))  # what is shown of it
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[Any]]
    created_at: Mapped[float]
    expires_at: Mapped[float | None]
    last_used_at: Mapped[float | None]
    revoked_at: Mapped[float | None]


class BrowserSession(Base):
    """A browser that somebody has signed in with; ends with the key that it was opened by."""

    __tablename__ = "browser_sessions"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    key_id: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id"))
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    csrf: Mapped[str] = mapped_column(String(64))  # what its forms and scripts have to say
    browser: Mapped[str] = mapped_column(String(200))  # as it names itself
    address: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float]
    expires_at: Mapped[float]


class PendingLogin(Base):
    """Somebody whose browser was sent to the provider and has not come back yet; of the texts that
    it has to come back with there is the SHA-256 alone."""

    __tablename__ = "pending_logins"

    state_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    browser_sha256: Mapped[str] = mapped_column(String(64))  # of a cookie
    nonce: Mapped[str] = mapped_column(String(64))
    verifier: Mapped[str] = mapped_column(String(128))
    redirect_uri: Mapped[str] = mapped_column(Text)
    wanted: Mapped[str] = mapped_column(Text)  # where the person wanted to go
    address: Mapped[str] = mapped_column(String(64), index=True)
    expires_at: Mapped[float] = mapped_column(index=True)


class Project(Base):
    """Things that several people share."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[float]


class Membership(Base):
    """A user in a project, and as what."""

    __tablename__ = "memberships"

    project_id: Mapped[str] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)
    role: Mapped[str] = mapped_column(String(10))  # viewer, member, admin
    created_at: Mapped[float]


class AuditLine(Base):
    """One line of the record of who changed what; never changed, and removed by nobody."""

    __tablename__ = "audit"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at_ms: Mapped[int] = mapped_column(BigInteger)
    user: Mapped[str] = mapped_column(String(64))
    user_id: Mapped[str | None] = mapped_column(String(40))
    key_id: Mapped[str | None] = mapped_column(String(40))
    address: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(200))  # method and template of the address
    thing_id: Mapped[str | None] = mapped_column(String(200), index=True)
    status: Mapped[int]  # of the answer
    request_id: Mapped[str] = mapped_column(String(100))
    previous: Mapped[str] = mapped_column(String(64))  # hash of the line before
    sha256: Mapped[str] = mapped_column(String(64))
