"""Users, keys and projects as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.store.accounts.keys import MOST_DAYS
from api.store.accounts.tables import ApiKey, AuditLine, Project, User
from api.store.limits.kinds import KINDS, Unit
from api.store.limits.kinds import Name as LimitName
from api.store.viewer import Role
from api.web.asgi import prefix
from api.web.schemas import Document, Timestamp, iso, maybe_iso

Scope = Literal["read", "write", "admin", "metrics"]
Name = Annotated[str, Field(min_length=1, max_length=64)]


class UserDocument(Document):
    """Somebody who uses the service."""

    id: str
    object: Literal["user"] = "user"
    name: str
    admin: bool
    """Of the service: sees and changes everything."""
    created_at: Timestamp
    disabled_at: Timestamp | None
    """Since when nothing of theirs opens anything; null: they may come in."""
    issuer: str | None
    """The provider of OpenID Connect that knows them; null: none."""
    subject: str | None
    """By what it knows them."""


class KeyDocument(Document):
    """A key by which programs come in; the key itself is shown once, when it is made."""

    id: str
    object: Literal["key"] = "key"
    name: str
    user: str
    """The name of the user it is of."""
    prefix: str
    """What it begins with."""
    scopes: list[Scope]
    """`read`; `write`: submit, steer, delete; `admin`: users and all else, for admins; `metrics`:
    the numbers for Prometheus alone, for admins."""
    created_at: Timestamp
    expires_at: Timestamp | None
    """null: never."""
    last_used_at: Timestamp | None
    """To a minute; null: never."""
    revoked_at: Timestamp | None


class NewKeyDocument(KeyDocument):
    """A key that was just made."""

    secret: str
    """The key: `saf_…`. It is kept nowhere, and not shown again."""
    replaces: str | None = None
    """Id of the key that the same request made before, whose answer was lost: it is revoked."""


class ProjectDocument(Document):
    """Things that several people share."""

    id: str
    object: Literal["project"] = "project"
    name: str
    role: Role | None
    """Of whoever asks; null of an admin of the service who does not belong to it."""
    created_at: Timestamp
    url: str


class MemberDocument(Document):
    """A user in a project."""

    user: str
    role: Role


class WholeProjectDocument(ProjectDocument):
    """A project and who belongs to it."""

    members: list[MemberDocument]


class MeDocument(Document):
    """Who asks, and what is open to them."""

    object: Literal["me"] = "me"
    auth: Literal["open", "keys", "proxy"]
    """How people come in: `open`: there are no accounts, and everybody may do everything."""
    user: UserDocument | None
    key: KeyDocument | None
    """With which the request was sent, or the browser signed in."""
    scopes: list[Scope]
    projects: list[ProjectDocument]


class AuditDocument(Document):
    """A line of the record of who changed what."""

    number: int
    """1, 2, 3 …, without gaps."""
    object: Literal["audit_line"] = "audit_line"
    at: Timestamp
    user: str
    key: str | None
    """Id of the key; null: by a proxy, or in a browser by a provider."""
    address: str
    action: str
    """Method and address, with `{…}` for the thing."""
    thing: str | None
    """The job, data set, key … that the address names, or that was made."""
    status: int
    """Of the answer: below 400 it was done; 401, 403, 404: it was refused; 500: it failed by a
    defect of the service, and may have been done in part."""
    request_id: str
    sha256: str
    """Of this line and the one before (`saf audit verify`)."""


def _whole(limits: Mapping[LimitName, float | None]) -> Mapping[LimitName, float | None]:
    """ValueError for a part of something that is counted, which would be 0: any number."""
    for name, most in limits.items():
        if most is not None and most % 1 and KINDS[name].unit not in ("hours", "bytes"):
            raise ValueError(f"{name} is {most:g}, and has to be a whole number")
    return limits


Limits = Annotated[
    dict[LimitName, Annotated[float, Field(ge=0, lt=2**53)] | None], AfterValidator(_whole)
]


class LimitDocument(Document):
    """How much of something a user or a project may have, and has."""

    object: Literal["limit"] = "limit"
    name: LimitName
    title: str
    side: Literal["user", "project"]
    of: str
    """Name of the user or the project."""
    most: float | None
    """null: any number."""
    used: float
    """Uploads and streams are those of the process of the API that answers."""
    unit: Unit
    within_days: float | None
    """In which device hours count; null: what there is now, of requests the last minute."""
    is_default: bool
    """Of the settings of the service; else an admin said it for this user or project."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class NewUser(_Strict):
    """A user to be made."""

    name: Name
    admin: bool = False
    subject: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """By what the provider of OpenID Connect knows them; null: they do not sign in by it."""


class UserChange(_Strict):
    """What is to be changed of a user; what is left out stays."""

    admin: bool | None = None
    disabled: bool | None = None
    subject: Annotated[str, Field(max_length=255)] | None = None
    """By what the provider of OpenID Connect knows them; empty: they sign in by it no more. Either
    ends their browser sessions."""
    limits: Limits = {}
    """How much they may have of what, by the names of `GET /v1/limits`; 0: any number; null: the
    default again."""


class ProjectChange(_Strict):
    """What is to be changed of a project; what is left out stays."""

    limits: Limits


class NewKey(_Strict):
    """A key to be made."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """What it is for."""
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=4)] | None = None
    """null: those of the key that this is sent with."""
    expires_days: Annotated[float, Field(gt=0, le=MOST_DAYS)] | None = None
    """null: never."""
    user: Name | None = None
    """By an admin: the user it is of; null: whoever asks."""


class NewProject(_Strict):
    """A project to be made; whoever makes it is its first admin."""

    name: Name


class MemberRole(_Strict):
    """As what a user belongs to a project."""

    role: Role


def audit_document(row: AuditLine) -> AuditDocument:
    """The JSON of a line of the record."""
    return AuditDocument(
        number=row.number,
        at=iso(row.at_ms / 1000),
        user=row.user,
        key=row.key_id,
        address=row.address,
        action=row.action,
        thing=row.thing_id,
        status=row.status,
        request_id=row.request_id,
        sha256=row.sha256,
    )


def user_document(row: User) -> UserDocument:
    """The JSON of a user."""
    return UserDocument(
        id=row.id,
        name=row.name,
        admin=row.is_admin,
        created_at=iso(row.created_at),
        disabled_at=maybe_iso(row.disabled_at),
        issuer=row.oidc_issuer,
        subject=row.oidc_subject,
    )


def key_document(row: ApiKey, user: str) -> KeyDocument:
    """The JSON of a key of the user of that name."""
    return KeyDocument(
        id=row.id,
        name=row.name,
        user=user,
        prefix=row.prefix,
        scopes=row.scopes,
        created_at=iso(row.created_at),
        expires_at=maybe_iso(row.expires_at),
        last_used_at=maybe_iso(row.last_used_at),
        revoked_at=maybe_iso(row.revoked_at),
    )


def project_document(row: Project, roles: Mapping[str, Role]) -> ProjectDocument:
    """The JSON of a project for somebody with those roles."""
    return ProjectDocument(
        id=row.id,
        name=row.name,
        role=roles.get(row.id),
        created_at=iso(row.created_at),
        url=prefix.at(f"/v1/projects/{row.id}"),
    )
