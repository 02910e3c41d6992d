"""What is limited, and by which settings where nobody has said another number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from api.settings import Settings

Name = Literal[
    "jobs_running", "jobs_waiting", "device_hours", "stored_bytes", "uploads", "streams", "requests"
]
Unit = Literal["jobs", "hours", "bytes", "uploads", "streams", "requests"]
Side = Literal["users", "projects"]
"""Whose a limit is; what has no row of its own has the one of this subject."""
DAYS = "device_hours_days"
"""The name under which the defaults of users have the days in which device hours count."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Something that is limited."""

    title: str
    unit: Unit
    of_users: str
    """The setting with the default of a user."""
    of_projects: str = ""
    """That of a project; empty: a project has none of it."""

    def setting(self, side: Side) -> str:
        """The setting with the default; empty where there is no such limit."""
        return self.of_users if side == "users" else self.of_projects


KINDS: Mapping[Name, Kind] = {
    "jobs_running": Kind(
        title="jobs with workers at once",
        unit="jobs",
        of_users="jobs_running_per_user",
        of_projects="jobs_running_per_project",
    ),
    "jobs_waiting": Kind(
        title="jobs that wait",
        unit="jobs",
        of_users="jobs_queued_per_user",
        of_projects="jobs_queued_per_project",
    ),
    "device_hours": Kind(
        title="hours of devices",
        unit="hours",
        of_users="device_hours_per_user",
        of_projects="device_hours_per_project",
    ),
    "stored_bytes": Kind(
        title="data sets, unpacked, networks and files of jobs",
        unit="bytes",
        of_users="datasets_max_bytes_per_user",
        of_projects="datasets_max_bytes_per_project",
    ),
    "uploads": Kind(title="uploads at once", unit="uploads", of_users="uploads_per_user"),
    "streams": Kind(title="live streams at once", unit="streams", of_users="streams_per_user"),
    "requests": Kind(
        title="requests within a minute", unit="requests", of_users="requests_per_minute"
    ),
}


def defaults(settings: Settings, side: Side) -> dict[str, float]:
    """The numbers of the settings, by the names of limits."""
    found = {
        name: float(getattr(settings, kind.setting(side)))
        for name, kind in KINDS.items()
        if kind.setting(side)
    }
    return found | ({DAYS: settings.device_hours_days} if side == "users" else {})
