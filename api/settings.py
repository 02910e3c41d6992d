"""Everything that can be set from outside, typed. Nothing else reads the environment."""

from __future__ import annotations

import json
import logging
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, field_validator, model_validator
from sqlalchemy.engine import URL

from saf.client.settings import ClientSettings, read
from saf.redaction import secrets_of

MIB, GIB = 2**20, 2**30
OWN_PATHS = (
    *("v1", "jobs", "new", "sweeps", "datasets", "compare", "system", "docs", "guide"),
    *("login", "logout", "account", "webhooks", "searches", "mail"),
    *("static", "openapi.json", "healthz", "readyz", "metrics"),
)
_PREFIX = re.compile(r"(/[A-Za-z0-9._~\-]+)+")
PLAIN = ("database_url", "broker_url", "artifacts_url")  # known without the prefix too
RETIRED = {
    "SAF_OUTAGE_SECONDS": "trainings go on however long the database is away",
}
"""Settings of earlier versions that are accepted and do nothing, each with why."""
OLD_NAMES = {
    "predict_max_memory_bytes": "trial_max_memory_bytes",
    "predict_max_seconds": "trial_max_seconds",
    "predict_idle_seconds": "trial_idle_seconds",
}
"""Settings and their names in earlier versions, which are still read."""
log = logging.getLogger(__name__)


def _plain_name(name: str) -> AliasChoices:
    return AliasChoices(name, f"SAF_{name}", name.lower())


def _renamed(name: str) -> AliasChoices:
    return AliasChoices(f"SAF_{name}".upper(), f"SAF_{OLD_NAMES[name]}".upper(), name)


class Settings(ClientSettings):
    """Read from `SAF_…` in the environment; the three addresses also without the prefix.

    `DATABASE_URL`, `BROKER_URL` and `ARTIFACTS_URL` alone turn the one-machine service into the
    distributed one.
    """

    data_dir: Path = Path("data")
    """Where the one-machine service keeps its database, broker, artifacts and working files."""
    database_url: Annotated[
        str, Field(default="", repr=False, validation_alias=_plain_name("DATABASE_URL"))
    ]
    """`sqlite:///…` or `postgresql+psycopg://…`; empty: SQLite in `data_dir`."""
    broker_url: Annotated[
        str, Field(default="", repr=False, validation_alias=_plain_name("BROKER_URL"))
    ]
    """`redis://…` or `redis+socket://…`, Redis or Valkey."""
    artifacts_url: Annotated[
        str, Field(default="", repr=False, validation_alias=_plain_name("ARTIFACTS_URL"))
    ]
    """A directory, plain or as `file:///…`, or `s3://BUCKET/PREFIX`; empty: in `data_dir`.
    Credentials, region and endpoint of S3 are read by its library, see docs/operating.md."""

    auth: Literal["open", "keys", "proxy"] = "open"
    """Who may come in: `open` whoever reaches the service, on this machine alone; `keys` who has a
    key of an account; `proxy` who a proxy in `trusted_proxies` says it is, or has a key."""
    open_beyond_loopback: bool = False
    """Let a service without accounts listen on other addresses than loopback: something in front of
    it asks who comes."""
    webhooks_private: bool = False
    """Let webhooks lead to addresses of this machine and network."""
    smtp_host: str = ""
    """The mail server by which people are told; `api.webhooks.mail` checks it and what follows.
    Empty: nobody is told by mail."""
    smtp_port: Annotated[int, Field(gt=0, lt=65536)] = 587
    """Its port."""
    smtp_tls: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is encrypted: after a first word (port 587), from the beginning (465), or
    not at all."""
    smtp_ca_file: Path | None = None
    """Certificates (PEM) of the authority of the mail server; none: those of the public internet.
    """
    smtp_user: str = ""
    """Who signs in there; empty: nobody does."""
    smtp_password_file: Path | None = None
    """A file with the password alone, read for each mail."""
    smtp_sender: str = ""
    """From whom mails come: `saf@example.org` or `Trainer <saf@example.org>`."""
    public_url: str = ""
    """The address under which people reach the service, for links in mails, with the path of
    `root_path`: `https://example.org/saf`."""
    session_hours: Annotated[float, Field(gt=0, le=24 * 365)] = 72.0
    """A browser that has signed in stays so for so long."""
    proxy_user_header: str = "X-Forwarded-User"
    """The header in which the proxy of `SAF_AUTH=proxy` names the user; it takes away what clients
    send by this name. A user who comes for the first time is made."""
    proxy_secret: str = Field(default="", repr=False)
    """What that proxy sends as `Saf-Proxy-Secret`, so that no other process of its machine can take
    its place; empty: nothing."""
    admins: tuple[str, ...] = ()
    """Names of users who are made admins when a proxy names them, as a JSON list."""

    oidc_issuer: str = ""
    """The provider of OpenID Connect by which browsers sign in, beside keys, exactly as it names
    itself; `api.accounts.oidc` checks it and what follows. Empty: none."""
    oidc_client_id: str = ""
    """The name of this service there."""
    oidc_client_secret: str = Field(default="", repr=False)
    """Its password there; empty: it has none (a public client), PKCE alone protects the code."""
    oidc_scopes: str = "openid profile email"
    """What the provider is asked for."""
    oidc_name: str = "OpenID Connect"
    """What the page to sign in calls the provider."""
    oidc_claim: str = "preferred_username"
    """What of a person becomes the name of their user, where one is made; `email` for who has none
    of it."""
    oidc_new_users: Literal["refuse", "create"] = "refuse"
    """Whom the provider knows and no user is linked to: `refuse` tells them what to ask an admin
    for; `create` makes them a user, for providers that let in nobody but who may use the service.
    """

    allowed_hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    """Names under which the API answers; another `Host` is refused, so that a page of another
    site cannot reach a server on loopback. `*` allows all."""
    root_path: str = ""
    """The path of a server under which a proxy shows the service, such as `/saf`; empty: all of
    it. Requests may come with it or without."""
    idle_seconds: Annotated[int, Field(gt=0)] = 90
    """A connection without a request is kept so long: longer than by a balancer, which would send
    into one that is closed."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses of proxies whose `X-Forwarded-For` is believed. A user is an address."""
    connections_at_once: Annotated[int, Field(gt=0)] = 4000
    """Connections to each process of the API, where the limit of open files lets there be as many;
    then those that are idle go."""
    upload_max_seconds: Annotated[float, Field(gt=0)] = 6 * 3600.0
    """Time that sending an upload may take."""
    body_max_bytes: Annotated[int, Field(gt=0)] = MIB
    """Largest body of a request other than an upload."""
    json_max_depth: Annotated[int, Field(gt=0, le=500)] = 32
    """Objects and lists within one another in a body."""
    json_max_values: Annotated[int, Field(gt=0)] = 20_000
    """Values in a body, those of a picture apart."""
    query_max_bytes: Annotated[int, Field(gt=0)] = 2**14
    """Longest query of an address."""
    jobs_queued_per_user: Annotated[int, Field(ge=0)] = 2000
    """Jobs of one user that may wait; 0: any number. So in all limits of users and projects."""
    jobs_queued_per_project: Annotated[int, Field(ge=0)] = 0
    """Jobs of one project that may wait."""
    jobs_running_per_user: Annotated[int, Field(ge=0)] = 0
    """Jobs of one user that have a worker at once; the others wait. An admin may say another number
    for one user or project, of this and each limit with `_per_user` or `_per_project` below."""
    jobs_running_per_project: Annotated[int, Field(ge=0)] = 0
    """Jobs of one project that have a worker at once."""
    device_hours_per_user: Annotated[float, Field(ge=0)] = 0.0
    """Hours that jobs of one user may take devices within `device_hours_days`; then they wait."""
    device_hours_per_project: Annotated[float, Field(ge=0)] = 0.0
    """Those of the jobs of one project."""
    device_hours_days: Annotated[float, Field(gt=0, le=366)] = 30.0
    """The days in which device hours count."""
    requests_per_minute: Annotated[int, Field(ge=0)] = 6000
    """Requests of one user within a minute, where there are accounts."""
    requests_per_minute_unknown: Annotated[int, Field(ge=0)] = 600
    """Those from one address of whom nobody knows: without a key or with one that opens nothing,
    and signing in."""
    admin_priority_below: Annotated[int, Field(ge=0, le=9)] = 3
    """Numbers of priority below this one are for admins, where there are accounts; 0: none is."""
    jobs_per_user_hour: Annotated[int, Field(ge=0)] = 6000
    """Jobs that one user may submit within an hour."""
    statement_seconds: Annotated[float, Field(ge=0)] = 10.0
    """Time that the database may take over a request: of SQLite all of it, of PostgreSQL each
    statement; 0: any."""
    database_connections: Annotated[int, Field(ge=2)] = 20
    """Connections to PostgreSQL of each process of the API, at most."""
    worker_database_connections: Annotated[int, Field(ge=2)] = 5
    """Connections to PostgreSQL of each worker, at most."""
    streams_per_user: Annotated[int, Field(gt=0)] = 100
    """Live streams that one user may have open, in each process of the API."""
    streams_at_once: Annotated[int, Field(gt=0)] = 1000
    """Live streams of all users, in each process of the API."""
    uploads_per_user: Annotated[int, Field(gt=0)] = 4
    """Uploads that one user may send at once, to each process of the API."""
    uploads_at_once: Annotated[int, Field(gt=0)] = 16
    """Uploads of all users at once, in each process of the API."""
    upload_max_bytes: Annotated[int, Field(gt=0)] = 4 * GIB
    """Largest upload."""
    upload_max_parts: Annotated[int, Field(gt=0)] = 10
    """Parts of an upload's form."""
    upload_kept_hours: Annotated[float, Field(gt=0)] = 24.0
    """A resumable upload goes when nothing came for so long."""
    uploads_kept_bytes_per_user: Annotated[int, Field(ge=0)] = 32 * GIB
    """Bytes of resumable uploads of one user that have not become data sets; 0: any number."""
    uploads_kept_bytes: Annotated[int, Field(ge=0)] = 128 * GIB
    """Those of all users on a machine."""
    uploads_kept_per_user: Annotated[int, Field(ge=0)] = 100
    """Such uploads of one user, also of few bytes; 0: any number."""
    uploads_kept: Annotated[int, Field(ge=0)] = 1000
    """Those of all users on a machine."""
    unpacked_max_bytes: Annotated[int, Field(gt=0)] = 8 * GIB
    """Largest data set once unpacked."""
    datasets_max_bytes_per_user: Annotated[int, Field(ge=0)] = 256 * GIB
    """Data sets of one user, unpacked as they are kept; 0: any number. So in the next two."""
    datasets_max_bytes_per_project: Annotated[int, Field(ge=0)] = 0
    """Those of one project."""
    datasets_max_bytes: Annotated[int, Field(ge=0)] = 1024 * GIB
    """Data sets of all users; the same content counts once."""
    dataset_folders: tuple[Path, ...] = ()
    """Folders of this machine below which whoever reaches the API may register data sets
    (`POST /v1/datasets {"folder": …}`), as a JSON list; with several machines on all of them."""
    archive_max_ratio: Annotated[float, Field(gt=0)] = 1100.0
    """Unpacked by packed bytes of an archive, beyond the first 64 MiB."""
    archive_max_entries: Annotated[int, Field(gt=0)] = 250_000
    """Files and folders in an archive."""
    image_max_side: Annotated[int, Field(gt=0)] = 1024
    """Pixels of an image on a side."""
    max_classes: Annotated[int, Field(gt=1)] = 10_000
    """Classes of a data set."""
    cache_max_bytes: Annotated[int, Field(gt=0)] = 20 * GIB
    """Copies of files of an S3 store that each machine keeps in `data_dir`."""
    check_max_seconds: Annotated[float, Field(gt=0)] = 1800.0
    """Time that checking an uploaded data set may take."""
    check_max_memory_bytes: Annotated[int, Field(gt=0)] = 2 * GIB
    """Memory of a check; the samples lie on the disk meanwhile and do not count."""
    job_max_memory_bytes: Annotated[int, Field(ge=0)] = 0
    """A job whose forecast is above is refused; 0: the memory of the machine that runs the API."""

    retain_metrics_days: Annotated[float, Field(ge=0)] = 0.0
    """Metrics of a job that ended so long ago go; 0: they stay. So in all that follow."""
    retain_logs_days: Annotated[float, Field(ge=0)] = 0.0
    """Logs of a job that ended so long ago go."""
    retain_checkpoints_days: Annotated[float, Field(ge=0)] = 7.0
    """Checkpoints of a job that succeeded so long ago go, all but the last one."""
    retain_artifacts_days: Annotated[float, Field(ge=0)] = 0.0
    """All files of a job that ended so long ago go, the last checkpoint too."""
    retain_invalid_datasets_days: Annotated[float, Field(ge=0)] = 7.0
    """Rows of uploads that could not be used go after so long."""
    retain_unanswered_datasets_days: Annotated[float, Field(ge=0)] = 7.0
    """Uploads that can be read in more than one way go, where nobody says which for so long."""
    retain_unused_datasets_days: Annotated[float, Field(ge=0)] = 0.0
    """Uploads that no job has used for so long go."""
    gc_grace_hours: Annotated[float, Field(gt=0)] = 24.0
    """Files that nothing refers to stay for so long: one may be under way."""
    gc_hours: Annotated[float, Field(ge=0)] = 6.0
    """How often the API removes what may go; 0: only `saf gc` does."""

    predict_max_memory_bytes: Annotated[
        int, Field(ge=0, validation_alias=_renamed("predict_max_memory_bytes"))
    ] = 4 * GIB
    """Memory of the prediction process; 0: the API makes no predictions."""
    predict_max_seconds: Annotated[
        float, Field(gt=0, validation_alias=_renamed("predict_max_seconds"))
    ] = 20.0
    """Time that the prediction for one sample may take."""
    predict_idle_seconds: Annotated[
        float, Field(gt=0, validation_alias=_renamed("predict_idle_seconds"))
    ] = 120.0
    """The prediction process ends when nobody has asked for so long."""

    export_max_memory_bytes: Annotated[int, Field(gt=0)] = 8 * GIB
    """Memory of the process of a worker that writes a network for another tool and replays it."""
    export_python: str = ""
    """A Python that has the readers of NIR, for exports that are replayed in them; empty: the one
    that the worker runs in. `saf.lif.export.nir.target` reads it."""
    readers: str = ""
    """Folder of the environments that have readers of NIR, which a worker makes when an export
    first needs one; empty: in the user's cache. `saf.lif.export.nir.environments` reads it."""
    readers_install: Annotated[int, Field(ge=0, le=1)] = 1
    """Whether workers make such an environment; 0: they replay in those that `saf readers install`
    made."""
    export_max_seconds: Annotated[float, Field(gt=0)] = 1800.0
    """Time that an export may take."""

    lease_seconds: Annotated[float, Field(gt=0)] = 30.0
    """A job whose worker has not been heard of for so long is recovered."""
    heartbeat_seconds: Annotated[float, Field(gt=0)] = 5.0
    """How often a worker renews its leases and its own row."""
    sweep_seconds: Annotated[float, Field(gt=0)] = 5.0
    """How often lost jobs and lost messages are looked for; four times a lease at least."""
    max_losses: Annotated[int, Field(ge=1)] = 5
    """A job that lost its worker more often than this without a checkpoint in between fails with
    `worker_lost`."""
    retry_seconds: Annotated[float, Field(gt=0)] = 5.0
    """Wait before a job is tried again by itself; doubled with each further try, 10 minutes at
    most. After the first loss of a worker there is none."""
    stop_grace_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Time between asking a training process to stop and killing it."""
    stall_seconds: Annotated[float, Field(ge=0)] = 600.0
    """A training without progress for so long is ended as hanging, unless its own pace explains it;
    0: never."""
    stall_factor: Annotated[float, Field(gt=1)] = 20.0
    """Its pace explains gaps so many times as long as the longest one before in the same phase."""
    stall_setup_seconds: Annotated[float, Field(gt=0)] = 3600.0
    """So long, or for `stall_seconds` where that is more, may at first take what has no pace yet:
    loading, the first iterations, an evaluation, the conversion."""
    worker_slots: Annotated[int, Field(ge=0, le=1024)] = 0
    """Jobs that one worker runs at once; 0: one per GPU, or one where there is none."""
    worker_threads: Annotated[int, Field(ge=0, le=4096)] = 0
    """Threads of each training; 0: the cores that the worker may use, divided by its slots."""
    gpu_tuning: bool = False
    """Long trainings on a GPU measure how many time steps to take at once and compile their scan,
    which has not been measured on one. `saf.training.hardware.tuning` reads it."""
    warm_processes: bool = True
    """Each slot keeps a training process that has loaded torch and waits for the next job."""

    traces: bool = False
    """Send spans of requests and attempts by OpenTelemetry; it needs the extra `otel`, and its own
    variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, …) say where to."""
    log_format: Literal["console", "json"] = "console"
    """Lines for people, or a JSON object a line with the ids of request, user, job and attempt."""

    @field_validator("root_path")
    @classmethod
    def _is_prefix(cls, path: str) -> str:
        """A path that is not ours, without a slash at its end."""
        path = path.rstrip("/")
        if path and not _PREFIX.fullmatch(path):
            raise ValueError("is no path of a server; one looks like /saf")
        if path.split("/")[1:2] and path.split("/")[1] in OWN_PATHS:
            raise ValueError(f"begins with /{path.split('/')[1]}, an address of the service itself")
        return path

    @model_validator(mode="after")
    def _renew_in_time(self) -> Self:
        """A lease that is renewed late has run out before anybody died."""
        if 4 * self.heartbeat_seconds > self.lease_seconds:
            raise ValueError("SAF_HEARTBEAT_SECONDS is at most a quarter of SAF_LEASE_SECONDS")
        return self

    def environment(self) -> dict[str, str]:
        """The environment for a child process that is to have exactly these settings."""
        outdated = {*RETIRED, *(f"SAF_{name}".upper() for name in OLD_NAMES.values())}
        # Celery takes its own variables for more important than what it is told.
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("CELERY_") and name.upper() not in outdated
        }
        values = self.model_dump(mode="json") | {"data_dir": str(self.data_dir.absolute())}
        own = {
            name.upper() if name in PLAIN else f"SAF_{name.upper()}": value
            for name, value in values.items()
        }
        texts = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in own.items()
            if value is not None  # a file that is not named: "null" would be one of that name
        }
        return {name: inherited[name] for name in inherited.keys() - own.keys()} | texts

    @property
    def secrets(self) -> list[str]:
        """Values that no log may show."""
        addresses = (self.database_url, self.broker_url, self.artifacts_url, self.url)
        kept = re.compile("authorization|cookie|token|key|secret", re.IGNORECASE)
        headers = [value for name, value in self.headers.items() if kept.search(name)]
        own = (self.token, self.proxy_secret, self.oidc_client_secret)
        return [*secrets_of(*addresses), *own, *headers]

    @property
    def database(self) -> str:
        """The address of the database, the default filled in."""
        if self.database_url:
            return self.database_url
        path = (self.data_dir / "saf.sqlite3").absolute()
        # Built, so that ?, % and # in the path are no syntax.
        return URL.create("sqlite", database=str(path)).render_as_string()

    @property
    def artifacts(self) -> str:
        """The address of the artifact store, the default filled in."""
        return self.artifacts_url or str((self.data_dir / "artifacts").absolute())


@lru_cache
def settings() -> Settings:
    """The settings of this process, read once. Ends the process, with one line, where they cannot
    be used; warns of those that do nothing any more or have another name."""
    names = {f"SAF_{old}".upper(): f"SAF_{new}".upper() for new, old in OLD_NAMES.items()}
    for name in os.environ:
        if (new := names.get(name.upper())) is not None:
            log.warning("the setting %s is called %s", name.upper(), new)
        if (why := RETIRED.get(name.upper())) is not None:
            log.warning("the setting %s does nothing any more: %s", name.upper(), why)
    return read(Settings, without_prefix=PLAIN)
