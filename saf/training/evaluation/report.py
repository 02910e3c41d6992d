"""`report.json`: the whole run, a summary of it in a few numbers, and what its network costs."""

from __future__ import annotations

from typing import Any

import torch

from saf.config import ResolvedSpecification
from saf.lif.costs.energy import estimate
from saf.lif.header import LIFDescription
from saf.lif.measure import Measured
from saf.lif.verdict import why_not_proven
from saf.networks.architecture import Architecture
from saf.training.checkpoint import Progress
from saf.training.evaluation.assessment import Assessment
from saf.training.hardware.environment import environment, peak_memory_bytes


def summarise(
    specification: ResolvedSpecification,
    architecture: Architecture,
    progress: Progress,
    assessment: Assessment,
    certificate: dict[str, Any],
    device: torch.device,
    timesteps_at_once: int | None,
) -> dict[str, Any]:
    """The content of `report.json`, but for `deployment`."""
    seconds = dict(progress.seconds)
    if device.type == "cuda":
        del seconds["network"]  # computes while Python goes on: nothing that a clock here can see
        outside = None
    else:
        outside = 1.0 - seconds["network"] / max(seconds["iterations"], 1e-9)
    rounding = (certificate["grid"] or {}).get("rounding")
    last = progress.history[-1]
    delivered = progress.delivered_epoch(specification.conversion.weights)
    return {
        "format": "saf-report/1",
        "summary": {
            "health": "warning" if assessment.findings else "ok",
            "findings": [finding._asdict() for finding in assessment.findings],
            **assessment.metrics,
            "most_frequent_accuracy": assessment.baselines.most_frequent,
            "linear_accuracy": assessment.baselines.linear,
            "train_accuracy": last["train_accuracy"],
            "train_loss": last["train_loss"],
            "val_accuracy": progress.history[delivered - 1].get("val_accuracy"),
            "best_epoch": progress.best_epoch or None,
            "delivered_epoch": delivered,
            "ended_early": progress.ended_early,
            "lif_accuracy": certificate["checks"][0]["accuracy_lif"],
            "verdict": certificate["verdict"],
            "rounding_cost_points": rounding["cost_points"] if rounding else None,
            "not_proven": why_not_proven(certificate["verdict"], certificate["grid"]),
            "accuracy_as_trained": rounding["accuracy_as_trained"]
            if rounding
            else certificate["checks"][0]["accuracy_saf"],
            "parameters": architecture.parameters,
            "neurons": architecture.neurons,
            "iterations": progress.step,
            "seconds": sum(v for k, v in seconds.items() if k != "network"),
            "peak_memory_bytes": peak_memory_bytes(device),
        },
        "specification": specification.model_dump(mode="json"),
        "seed": specification.seed,
        "environment": environment(device, specification.precision),
        **assessment.report(),
        "gains": progress.gains,
        "epochs": progress.history,
        "seconds": seconds,
        "compiled_scan": progress.compiled,
        "in_cpp": progress.native,
        "timesteps_at_once": timesteps_at_once,
        "share_of_iterations_outside_the_network": outside,
    }


def deployment(
    measured: Measured, description: LIFDescription, compared: dict[str, Any]
) -> dict[str, Any]:
    """The LIF network in use: accuracy after 1, 2 … T steps, firing rates, its energy, and what
    `saf.lif.costs.neurobench` `compared`."""
    return {
        "samples": measured.samples,
        "accuracy_after": measured.accuracy_after,
        "firing_rates": measured.firing_rates,
        "energy": estimate(description, measured.spikes),
        "neurobench": compared,
    }
