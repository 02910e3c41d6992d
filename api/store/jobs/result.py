"""What the row of a job that succeeded keeps of the summary of its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OF_THE_NETWORK = ("lif_accuracy", "verdict", "rounding_cost_points", "health", "findings")
"""Of the summary of a job that succeeded: what is kept in columns."""
RESULT = (
    "test_accuracy",
    "test_balanced_accuracy",
    "val_accuracy",
    "train_accuracy",
    "most_frequent_accuracy",
    "linear_accuracy",
    "best_epoch",
    "delivered_epoch",
    "ended_early",
    "not_proven",
)
"""And what is kept of it in the column `result`."""


def columns(summary: Mapping[str, Any] | None) -> dict[str, Any]:
    """The columns of a job for a summary; empty ones where there is none."""
    found: dict[str, Any] = {name: (summary or {}).get(name) for name in OF_THE_NETWORK}
    if summary is not None:
        found["result"] = {name: summary.get(name) for name in RESULT}
    return found
