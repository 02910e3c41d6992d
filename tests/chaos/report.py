"""What a run was and what came out, as JSON and as Markdown."""

from __future__ import annotations

import json
import platform
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from tests.chaos.memory import Violation


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """How long faults of one kind took to overcome."""

    kind: str
    injected: int
    median_seconds: float | None
    worst_seconds: float | None
    not_seen: int  # no job was hit, or the next fault came before


@dataclass(kw_only=True)
class Report:
    """One run on one database."""

    database: str
    seed: int
    workers: int
    lease_seconds: float
    seconds: float = 0.0
    jobs: dict[str, int] = field(default_factory=dict)  # by status
    attempts: int = 0
    most_attempts: int = 0
    stalled: int = 0  # attempts that the watchdog found hanging
    deleted: int = 0
    faults: list[Recovery] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    unanswered: int = 0
    swept: int = 0  # files of killed processes that `saf gc` removed at the end
    violations: list[Violation] = field(default_factory=list)

    @property
    def jobs_run(self) -> int:
        """All that were accepted."""
        return sum(self.jobs.values()) + self.deleted

    @property
    def faults_injected(self) -> int:
        """Of all kinds."""
        return sum(fault.injected for fault in self.faults)


def write(reports: list[Report], directory: Path) -> str:
    """Write `report.json` and `report.md`; returns the Markdown."""
    directory.mkdir(parents=True, exist_ok=True)
    text = markdown(reports)
    (directory / "report.md").write_text(text)
    content = {
        "machine": machine(),
        "jobs": sum(report.jobs_run for report in reports),
        "faults": sum(report.faults_injected for report in reports),
        "violations": sum(len(report.violations) for report in reports),
        "runs": [asdict(report) for report in reports],
    }
    (directory / "report.json").write_text(json.dumps(content, indent=2) + "\n")
    return text


def machine() -> str:
    """What it ran on."""
    cpus = Path("/proc/cpuinfo").read_text().count("processor\t")
    return (
        f"{platform.system()} {platform.machine()}, {cpus} CPUs, Python {platform.python_version()}"
    )


def markdown(reports: list[Report]) -> str:
    """A summary, a table of faults for each run, and every violation."""
    jobs = sum(report.jobs_run for report in reports)
    faults = sum(report.faults_injected for report in reports)
    violations = sum(len(report.violations) for report in reports)
    lines = [
        f"**{jobs} jobs, {faults} faults, {violations} violations** ({machine()})",
        "",
        "| | " + " | ".join(report.database for report in reports) + " |",
        "|---|" + "---|" * len(reports),
    ]
    rows = {
        "jobs": [report.jobs_run for report in reports],
        "succeeded": [report.jobs.get("succeeded", 0) for report in reports],
        "cancelled on request": [report.jobs.get("cancelled", 0) for report in reports],
        "failed, told why": [report.jobs.get("failed", 0) for report in reports],
        "deleted on request": [report.deleted for report in reports],
        "attempts": [report.attempts for report in reports],
        "most attempts of one job": [report.most_attempts for report in reports],
        "attempts found hanging": [report.stalled for report in reports],
        "faults": [report.faults_injected for report in reports],
        "files that garbage collection removed": [report.swept for report in reports],
        "requests": [sum(report.requests.values()) for report in reports],
        "answered 503 with the reason": [report.answers.get("503", 0) for report in reports],
        "seconds": [round(report.seconds) for report in reports],
        "violations": [len(report.violations) for report in reports],
    }
    lines += [f"| {name} | " + " | ".join(map(str, row)) + " |" for name, row in rows.items()]
    lines += ["", *_fault_table(reports)]
    for report in reports:
        for kind, why in report.left_out.items():
            lines += ["", f"Left out on {report.database}: {kind}, {why}."]
        if report.violations:
            counted = Counter(violation.kind for violation in report.violations)
            lines += ["", f"Violations on {report.database}: {dict(counted)}", ""]
            lines += [f"- {item.kind}: {item.subject}: {item.detail}" for item in report.violations]
    return "\n".join(lines) + "\n"


def _fault_table(reports: list[Report]) -> list[str]:
    lines = [
        "| fault | "
        + " | ".join(f"{r.database}: times (measured), median, worst s" for r in reports)
        + " |",
        "|---|" + "---|" * len(reports),
    ]
    kinds = sorted({fault.kind for report in reports for fault in report.faults})
    for kind in kinds:
        cells = []
        for report in reports:
            fault = next((fault for fault in report.faults if fault.kind == kind), None)
            cells.append("" if fault is None else _cell(fault))
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return lines


def _cell(fault: Recovery) -> str:
    if fault.median_seconds is None or fault.worst_seconds is None:
        return f"{fault.injected} (0), –, –"
    measured = fault.injected - fault.not_seen
    return f"{fault.injected} ({measured}), {fault.median_seconds:.1f}, {fault.worst_seconds:.1f}"


def recovery(kind: str, injected: int, seconds: list[float], not_seen: int) -> Recovery:
    """The figures of one kind."""
    return Recovery(
        kind=kind,
        injected=injected,
        median_seconds=round(median(seconds), 2) if seconds else None,
        worst_seconds=round(max(seconds), 2) if seconds else None,
        not_seen=not_seen,
    )
