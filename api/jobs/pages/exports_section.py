"""The section "Use elsewhere" of a job's page: every target, what became of it, or why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.errors import GoneError
from api.jobs.exports.queries import outline_of_network
from api.jobs.exports.schemas import ExportDocument
from api.jobs.results.artifacts import ArtifactDocument
from api.jobs.results.predict import NETWORK
from api.store.blobs.base import ArtifactStore
from saf.config.targets import TARGETS, target_of, unfit_for
from saf.registry import name_of

IN_BROWSERS, MODULE = "wasm", "snn.wasm"
DRAWN = ([1], [3])  # channels of what can be drawn, or is an image


def exports_section(
    store: ArtifactStore, files: Sequence[ArtifactDocument], exports: Sequence[ExportDocument]
) -> list[dict[str, Any]]:
    """An entry for each target, with the newest export to it; empty without a network to export."""
    network = next((file for file in files if file.name == NETWORK), None)
    if network is None:
        return []
    try:
        outline = outline_of_network(store, network.sha256)
    except (GoneError, OSError):
        return []
    newest: dict[str, ExportDocument] = {}
    for export in exports:
        newest.setdefault(export.target, export)
    found = []
    for kind in TARGETS:
        name = name_of(kind)
        obstacles = () if outline is None else unfit_for(target_of(name), outline)
        found.append(
            {
                "name": name,
                "label": kind.label,
                "description": " ".join((kind.__doc__ or "").split()),
                "obstacles": [str(each) for each in obstacles],
                "is_check": kind.is_check,
                "export": newest.get(name),
            }
        )
    return found


def in_browser(
    entries: Sequence[dict[str, Any]], shape: Sequence[int], frames: bool
) -> dict[str, Any] | None:
    """What the page needs to predict in the browser: the export and its file, once no spike
    differs, or what is in its way. None where nothing of `shape` (C H W) can be drawn."""
    entry = next((each for each in entries if each["name"] == IN_BROWSERS), None)
    if entry is None or frames or [*shape[:1]] not in DRAWN:
        return None
    export: ExportDocument | None = entry["export"]
    files = export.artifacts if export is not None and export.verdict == "identical" else []
    return {
        "obstacles": entry["obstacles"],
        "export": export,
        "module": next((file for file in files if file.name.endswith(MODULE)), None),
    }
