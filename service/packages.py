"""Puts the packages of the service, which lie in the folder above, into its wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("api", "worker", "migrations")


class Packages(BuildHookInterface):  # type: ignore[type-arg]
    """Copies the packages into a wheel; an editable one names their folder instead."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folders. Raises FileNotFoundError outside a checkout."""
        if version == "editable":
            return
        for name in PACKAGES:
            folder = Path(self.root).parent / name
            if not folder.is_dir():
                raise FileNotFoundError(
                    f"{folder} is missing: build saf-service in a checkout, pip wheel ./service"
                )
            build_data["force_include"][str(folder)] = name
