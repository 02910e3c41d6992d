"""What all tables share, and the two that no noun owns: files by content, and the identity."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can name them too."""

    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy reads it so)
        float: Double(),
        dict[str, Any]: JSON(),
        list[Any]: JSON(),
    }
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Blob(Base):
    """A file of the artifact store, by content. The row's lock guards the file."""

    __tablename__ = "blobs"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[float]
    damaged_at: Mapped[float | None]  # when it was found to have another content than its name says


class DatabaseIdentity(Base):
    """Which database this is: one row, made by a migration."""

    __tablename__ = "identity"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
