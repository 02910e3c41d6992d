"""What each route of the service asks of whoever sends a request: the one table of it.

A route that is not in it is denied to everybody where there are accounts, and
`tests/api/accounts/test_every_route.py` fails until it is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Scope = Literal["public", "read", "write", "admin", "metrics"]
Right = Literal["see", "change"]
Kind = Literal[
    "job",
    "artifact",
    "sweep",
    "dataset",
    "network",
    "upload",
    "key",
    "project",
    "webhook",
    "search",
]


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a route asks for."""

    scope: Scope
    """Of the key or session; `admin` and `metrics` are open to admins alone."""
    kind: Kind | None = None
    """Of the thing that the first parameter of the address names; who may not see it gets 404."""
    right: Right = "see"
    """`change`: who may see it and not change it gets 403."""
    makes: bool = False
    """Something new, in the project that the header `Saf-Project` names."""
    enters: bool = False
    """Tries to sign in, or a link of a mail, which counts for the address that it comes from."""
    of_form: bool = False
    """A form of a page, which may say its CSRF token as a field."""


PUBLIC = Access(scope="public")
ENTER = Access(scope="public", enters=True)
READ = Access(scope="read")
WRITE = Access(scope="write")
ADMIN = Access(scope="admin")
MAKE = Access(scope="write", makes=True)
FORM = Access(scope="write", of_form=True)
LEAVE = Access(scope="read", of_form=True)


def see(kind: Kind) -> Access:
    """Reads the thing."""
    return Access(scope="read", kind=kind)


def use(kind: Kind) -> Access:
    """Makes something new of a thing that one sees, in its project where that may be."""
    return Access(scope="write", kind=kind)


def change(kind: Kind, *, of_form: bool = False) -> Access:
    """Steers, changes or deletes the thing."""
    return Access(scope="write", kind=kind, right="change", of_form=of_form)


ACCESS: Mapping[str, Access] = {
    # Whoever reaches the service.
    "GET /healthz": PUBLIC,
    "GET /readyz": PUBLIC,
    "GET /login": PUBLIC,
    "POST /login": ENTER,
    "GET /login/oidc": ENTER,
    "GET /login/oidc/callback": ENTER,
    "GET /login/oidc/leave": PUBLIC,
    "GET /static/{path}": PUBLIC,
    "GET /mail/confirm/{token}": ENTER,
    "POST /mail/confirm/{token}": ENTER,
    "GET /mail/stop/{token}": ENTER,
    "POST /mail/stop/{token}": ENTER,
    # Pages and what is the same for all.
    "GET /": READ,
    "GET /new": READ,
    "GET /compare": READ,
    "GET /datasets": READ,
    "GET /networks": READ,
    "GET /sweeps": READ,
    "GET /system": READ,
    "GET /docs": READ,
    "GET /openapi.json": READ,
    "GET /guide/{path}": READ,
    "GET /jobs/{job_id}": see("job"),
    "GET /datasets/{dataset}": see("dataset"),
    "GET /sweeps/{sweep_id}": see("sweep"),
    "GET /metrics": Access(scope="metrics"),
    # Jobs.
    "POST /v1/jobs": MAKE,
    "GET /v1/jobs": READ,
    "GET /v1/stream": READ,
    "GET /v1/comparison": READ,
    "GET /v1/jobs/{job_id}": see("job"),
    "GET /v1/jobs/{job_id}/events": see("job"),
    "GET /v1/jobs/{job_id}/metrics": see("job"),
    "GET /v1/jobs/{job_id}/logs": see("job"),
    "GET /v1/jobs/{job_id}/vitals": see("job"),
    "GET /v1/jobs/{job_id}/artifacts": see("job"),
    "POST /v1/jobs/{job_id}/predict": see("job"),
    "GET /v1/jobs/{job_id}/samples/{sample}": see("job"),
    "POST /v1/jobs/{job_id}/retry": use("job"),
    "POST /v1/jobs/{job_id}/continue": use("job"),
    "POST /v1/jobs/{job_id}/cancel": change("job"),
    "POST /v1/jobs/{job_id}/pause": change("job"),
    "POST /v1/jobs/{job_id}/resume": change("job"),
    "PATCH /v1/jobs/{job_id}": change("job"),
    "DELETE /v1/jobs/{job_id}": change("job"),
    "GET /v1/artifacts/{artifact_id}": see("artifact"),
    "GET /v1/jobs/{job_id}/exports": see("job"),
    "GET /v1/jobs/{job_id}/exports/{export}": see("job"),
    "POST /v1/jobs/{job_id}/exports": change("job"),
    "DELETE /v1/jobs/{job_id}/exports/{export}": change("job"),
    "GET /v1/searches": READ,
    "POST /v1/searches": MAKE,
    "DELETE /v1/searches/{search}": change("search"),
    "POST /searches": FORM,
    "POST /searches/{search}/remove": change("search", of_form=True),
    # Sweeps.
    "POST /v1/sweeps": MAKE,
    "GET /v1/sweeps": READ,
    "GET /v1/sweeps/{sweep_id}": see("sweep"),
    "POST /v1/sweeps/{sweep_id}/cancel": change("sweep"),
    "PATCH /v1/sweeps/{sweep_id}": change("sweep"),
    "DELETE /v1/sweeps/{sweep_id}": change("sweep"),
    # Data sets and uploads.
    "POST /v1/datasets": MAKE,
    "GET /v1/datasets": READ,
    "GET /v1/datasets/{dataset}": see("dataset"),
    "GET /v1/datasets/{dataset}/preview": see("dataset"),
    "GET /v1/datasets/{dataset}/preview.png": see("dataset"),
    "GET /v1/datasets/{dataset}/candidates/{question}-{candidate}.png": see("dataset"),
    "POST /v1/datasets/{dataset}/choices": change("dataset"),
    "PATCH /v1/datasets/{dataset}": change("dataset"),
    "DELETE /v1/datasets/{dataset}": change("dataset"),
    "GET /v1/catalogue": READ,
    "OPTIONS /v1/uploads": READ,
    "POST /v1/uploads": WRITE,
    "GET /v1/uploads/{upload}": see("upload"),
    "PATCH /v1/uploads/{upload}": change("upload"),
    "DELETE /v1/uploads/{upload}": change("upload"),
    # Networks of one's own.
    "POST /v1/networks": MAKE,
    "GET /v1/networks/uploaded": READ,
    "GET /v1/networks/{network}": see("network"),
    "DELETE /v1/networks/{network}": change("network"),
    # Choices of a job, workers.
    "GET /v1/networks": READ,
    "GET /v1/methods": READ,
    "GET /v1/neurons": READ,
    "GET /v1/surrogates": READ,
    "GET /v1/exports": READ,
    "GET /v1/workers": READ,
    # Webhooks.
    "POST /v1/webhooks": MAKE,
    "GET /v1/webhooks": READ,
    "GET /v1/webhooks/{webhook}": see("webhook"),
    "GET /v1/webhooks/{webhook}/deliveries": see("webhook"),
    "POST /v1/webhooks/{webhook}/test": change("webhook"),
    "PATCH /v1/webhooks/{webhook}": change("webhook"),
    "DELETE /v1/webhooks/{webhook}": change("webhook"),
    "GET /webhooks": READ,
    "POST /webhooks": FORM,
    "POST /webhooks/{webhook}/test": change("webhook", of_form=True),
    "POST /webhooks/{webhook}/enable": change("webhook", of_form=True),
    "POST /webhooks/{webhook}/remove": change("webhook", of_form=True),
    # Accounts.
    "GET /v1/me": READ,
    "GET /v1/limits": READ,
    "PATCH /v1/projects/{project}": Access(scope="admin", kind="project"),
    "GET /v1/audit": ADMIN,
    "GET /v1/users": ADMIN,
    "POST /v1/users": ADMIN,
    "PATCH /v1/users/{user}": ADMIN,
    "GET /v1/keys": READ,
    "POST /v1/keys": WRITE,
    "DELETE /v1/keys/{key}": change("key"),
    "GET /v1/projects": READ,
    "POST /v1/projects": WRITE,
    "GET /v1/projects/{project}": see("project"),
    "DELETE /v1/projects/{project}": change("project"),
    "PUT /v1/projects/{project}/members/{user}": change("project"),
    "DELETE /v1/projects/{project}/members/{user}": change("project"),
    "DELETE /v1/sessions": READ,
    "GET /account": READ,
    "GET /account/limits/users/{user}": ADMIN,
    "POST /account/limits/users/{user}": Access(scope="admin", of_form=True),
    "GET /account/limits/projects/{project}": Access(scope="admin", kind="project"),
    "POST /account/limits/projects/{project}": Access(scope="admin", kind="project", of_form=True),
    "POST /account/keys": FORM,
    "POST /account/mail": FORM,
    "POST /account/keys/{key}/revoke": Access(
        scope="write", kind="key", right="change", of_form=True
    ),
    "POST /account/sessions/end": LEAVE,
    "POST /logout": LEAVE,
}


def needed(method: str, template: str) -> Access | None:
    """What a route asks for; None: it was never decided, and is denied."""
    return ACCESS.get(f"{'GET' if method == 'HEAD' else method} {template}")
