"""The page of one job: state, charts, spike statistics, network, files and history."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.jobs.exports.queries import export_documents, find_exports
from api.jobs.pages.class_table import class_table
from api.jobs.pages.exports_section import exports_section, in_browser
from api.jobs.pages.new_form import with_auto
from api.jobs.queries import read_job
from api.jobs.results.artifacts import ArtifactDocument, find_artifacts
from api.jobs.results.events import find_events
from api.jobs.results.predict import NETWORK, summary_of
from api.jobs.results.spike_stats import find_spike_statistics
from api.jobs.schemas import JobDocument, event_document, job_document
from api.store import viewer
from api.store.accounts import audit
from api.store.blobs.base import ArtifactStore
from api.store.blobs.verified import DamagedError
from api.store.database import clock
from api.store.jobs.exports import EXPORTS
from api.store.runs import logs
from api.store.tables.jobs import ACTIVE, TERMINAL, Job, Status
from api.store.tables.results import Event
from api.web.dependencies import Service, ServiceDependency
from api.web.remarks import rendered
from api.web.rendering import page
from api.web.schemas import iso
from saf.config import JobSpecification

router = APIRouter(include_in_schema=False)
SHOWN_EVENTS = 200
ATTEMPT_EVENTS = 1000  # pausing and resuming makes some each time
LOG_LINES = 500
DOCUMENT_BYTES = 16_000_000  # a report of a thousand classes has a matrix of a million numbers
EARLY_POINTS = 0.5  # of accuracy that stopping early may cost
STEPS_SHOWN = 32  # of accuracies by time step, about
ACTIONS: Mapping[Status, tuple[str, ...]] = {
    Status.queued: ("pause", "cancel"),
    Status.recovering: ("pause", "cancel"),
    Status.starting: ("pause", "cancel"),
    Status.running: ("pause", "cancel"),
    Status.converting: ("pause", "cancel"),
    Status.pausing: ("cancel",),
    Status.paused: ("resume", "cancel"),
    Status.cancelling: (),
    Status.succeeded: ("delete",),
    Status.failed: ("retry", "delete"),
    Status.cancelled: ("retry", "delete"),
}
STATUS_MEANING: Mapping[Status, str] = {
    Status.queued: "Waits for a worker.",
    Status.starting: "A worker has taken it and starts its training process.",
    Status.running: "In training.",
    Status.converting: "Trained; is being converted to LIF neurons and checked.",
    Status.pausing: "Writes a checkpoint, then pauses.",
    Status.paused: "Waits until somebody resumes it; it goes on from its checkpoint.",
    Status.recovering: "Its attempt was lost; another one goes on from the last checkpoint.",
    Status.cancelling: "Its process is being stopped.",
    Status.succeeded: "Done; the LIF network is below.",
    Status.failed: "Ended with an error.",
    Status.cancelled: "Stopped on request; its process is gone.",
}
ENDS = (Status.recovering, Status.queued, Status.paused, *TERMINAL)  # of an attempt


@router.get("/jobs/{job_id}")
def job_page(request: Request, service: ServiceDependency, job_id: str) -> Response:
    """The page of one job, with live updates."""
    with service.database.reading() as session:
        row = read_job(session, job_id)
        after = max(0, row.events_count - SHOWN_EVENTS)
        events, _ = find_events(session, job_id, after=after, limit=SHOWN_EVENTS)
        files = find_artifacts(session, job_id)
        exported = export_documents(session, find_exports(session, job_id))
        job = job_document(session, row)
        environment = _environment(session, job_id)
        context = {
            "job": job,
            "is_over": job.status in TERMINAL,
            "status_meaning": STATUS_MEANING[job.status],
            "silent_since": _silent_since(session, row, job),
            "actions": ACTIONS[job.status] if _may_steer(row) else (),
            "may_change": _may_steer(row),
            "notes": rendered(job.notes),
            "events": [event_document(event) for event in reversed(events)],
            "earlier_events": after,
            "attempts": _attempts(session, job_id),
            "spike_statistics": find_spike_statistics(session, job_id, newest=1),
            **_evaluation(session, row),
            "log": logs.tail(session, job_id, LOG_LINES),
            "changes": audit.history(session, job_id),
            "log_lines": LOG_LINES,
        }
    report = _document(service.store, files, "report")
    certificate = _document(service.store, files, "certificate")
    entries = exports_section(service.store, files, exported)
    context |= {
        "files": [file for file in files if not file.name.startswith(EXPORTS)],
        "exports": entries,
        "in_browser": in_browser(
            entries,
            context["input_shape"],
            context["frames"] or _shown_in_parts(job),
        ),
        "network_damaged": any(file.name == NETWORK and file.damaged for file in files),
        "predicts_with": _predicts_with(files, job, context["samples"]),
        "certificate": certificate,
        "checked_layers": _checked_layers(certificate),
        "report": report,
        "class_table": class_table(report),
        "deployment": _deployment(report),
        "environment": report["environment"] if report else environment,
        "again": _again(job, str(request.base_url).rstrip("/")),
        "can_predict": _can_predict(service),
    }
    return page(request, "jobs/job.html", context)


def _may_steer(row: Job) -> bool:
    return viewer.may_change(row.owner_id, row.project_id)


def _silent_since(session: Session, row: Job, job: JobDocument) -> str | None:
    """When its worker was last heard of, where that is longer ago than its lease."""
    over = row.lease_until is not None and row.lease_until < clock(session)
    return job.heartbeat_at if over and job.status in ACTIVE else None


def _document(
    store: ArtifactStore, files: Sequence[ArtifactDocument], kind: str
) -> dict[str, Any] | None:
    """The JSON document of that kind among a job's files; None when there is none to read."""
    for file in files:
        if file.kind == kind and file.bytes <= DOCUMENT_BYTES:
            try:
                with store.open(file.sha256) as opened:
                    content = json.loads(opened.read())
            except DamagedError:
                file.damaged = True
                return None
            except (OSError, ValueError):
                return None
            return content if isinstance(content, dict) else None
    return None


def _checked_layers(certificate: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Verdict of the checks and bounds for each layer: proven, measured, or differs."""
    if certificate is None or not certificate.get("checks"):
        return []
    grid = certificate["grid"] or {}
    proven = grid.get("within") and grid["is_of_the_trained_network"]
    rows = []
    for number, layer in enumerate(certificate["checks"][0]["layers"]):
        differing = [check["layers"][number]["spikes_differing"] for check in certificate["checks"]]
        bound = grid["layers"][number] if grid.get("bits") else None
        if proven and bound and bound["within"]:
            verdict = "proven"
        else:
            verdict = "measured, no spike differs" if not any(differing) else "spikes differ"
        rows.append(
            {"name": layer["name"], "verdict": verdict, "differing": differing, "bound": bound}
        )
    return rows


def _deployment(report: dict[str, Any] | None) -> dict[str, Any] | None:
    """The LIF network in use: accuracy by time step, and after how many one may stop."""
    if report is None or "deployment" not in report:
        return None
    found: dict[str, Any] = report["deployment"]
    accuracies = found["accuracy_after"]
    good = accuracies[-1] - EARLY_POINTS / 100
    enough = next(step for step, accuracy in enumerate(accuracies, 1) if accuracy >= good)
    energy = found["energy"]
    saved = energy["dense_picojoules"] / max(energy["picojoules"], 1e-12)
    every = -(-len(accuracies) // STEPS_SHOWN)
    steps = sorted({1, enough, len(accuracies), *range(every, len(accuracies), every)})
    shown = {"good": good, "enough": enough, "early_points": EARLY_POINTS, "saved": saved}
    return {**found, **shown, "steps": steps}


def _attempts(session: Session, job_id: str) -> list[dict[str, Any]]:
    """The attempts, the newest hundreds of them: where and when each began, when and why it
    ended."""
    kinds = [str(kind) for kind in (Status.starting, *ENDS)]
    rows = session.scalars(
        select(Event)
        .where(Event.job_id == job_id, Event.attempt > 0, Event.type.in_(kinds))
        .order_by(Event.sequence.desc())
        .limit(ATTEMPT_EVENTS)
    )
    found: dict[int, dict[str, Any]] = {}
    for event in reversed(rows.all()):
        if event.type == Status.starting:
            found[event.attempt] = {
                "number": event.attempt,
                "at": iso(event.at),
                "device": event.data.get("device", ""),
                "worker": event.data.get("worker_id", ""),
                "end": "",
                "seconds": None,
                "reason": "",
                "began": event.at,
            }
        elif (attempt := found.get(event.attempt)) is not None and not attempt["end"]:
            error = event.data.get("error") or {}
            attempt["end"] = event.type
            attempt["seconds"] = event.at - attempt["began"]
            attempt["reason"] = event.data.get("reason") or error.get("message", "")
    return list(found.values())


def _environment(session: Session, job_id: str) -> dict[str, Any]:
    """Environment of the newest attempt that began to train; empty where there is none."""
    running = session.scalar(
        select(Event)
        .where(Event.job_id == job_id, Event.type == Status.running)
        .order_by(Event.sequence.desc())
        .limit(1)
    )
    found: dict[str, Any] = running.data.get("environment", {}) if running is not None else {}
    return found


def _evaluation(session: Session, job: Job) -> dict[str, Any]:
    """What can be shown to the network: how many samples its data set has for evaluation (0 where
    it is gone), their shape, pixels on a side, classes, whether they are event frames or series,
    and their lengths where they are padded."""
    summary = summary_of(session, job)
    if summary is None:
        nothing = {"samples": 0, "input_shape": [], "side": 28, "classes": 0, "lengths": None}
        return {**nothing, "frames": False, "series": False}
    is_series = summary.get("kind") == "series"
    steps = [summary["timesteps"]] if summary.get("timesteps") is not None else []
    return {
        "samples": int(summary["counts"]["test"]),
        "input_shape": [*steps, *summary["shape"][: 1 if is_series else 3]],
        "side": max(summary["shape"][-2:]),
        "classes": summary["classes"],
        "frames": bool(steps),
        "series": is_series,
        "lengths": summary.get("lengths"),
    }


def _shown_in_parts(job: JobDocument) -> bool:
    """Whether the network reads images as sequences, which browsers leave to the server."""
    return bool(job.specification.get("input", {}).get("present", "whole") != "whole")


def _predicts_with(files: Sequence[ArtifactDocument], job: JobDocument, samples: int) -> str:
    """Which network predicts: `lif`, `checkpoint`, or none; a checkpoint needs the data."""
    if any(file.name == NETWORK for file in files):
        return "lif"
    return "checkpoint" if job.checkpoint_step is not None and samples else ""


def _again(job: JobDocument, url: str) -> dict[str, str]:
    """The same job once more, in the languages that people copy."""
    try:
        specification = JobSpecification.model_validate(with_auto(job.specification))
    except ValueError:  # of another version
        short = job.specification
    else:
        # Parts that differ are whole: what they are is said by their names.
        defaults = JobSpecification().model_dump(mode="json")
        asked = specification.model_dump(mode="json")
        asked["schedule"]["start_epoch"] = 0  # nobody submits what the service wrote
        changed = {key: value for key, value in asked.items() if value != defaults[key]}
        short = {"dataset": specification.dataset, "name": specification.name, **changed}
    text = json.dumps(short, ensure_ascii=False)
    quoted = text.replace("'", "'\\''")
    return {
        "json": json.dumps(job.specification, indent=2, ensure_ascii=False),
        "curl": f"curl -s {url}/v1/jobs -H 'content-type: application/json' \\\n  -d '{quoted}'",
        "python": "from saf.client import Client\n\n"
        f'with Client("{url}") as client:\n'
        f"    job = client.submit({json.loads(text)!r})\n"
        '    job = client.wait(job["id"])\n',
    }


def _can_predict(service: Service) -> bool:
    return service.settings.predict_max_memory_bytes > 0
