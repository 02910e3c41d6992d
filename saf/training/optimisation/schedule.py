"""The learning rate of each iteration."""

from __future__ import annotations

from math import cos, pi

from saf.config import ResolvedSpecification


def learning_rate(specification: ResolvedSpecification, step: int, steps_per_epoch: int) -> float:
    """The learning rate of iteration `step`, counted from 0.

    It rises linearly over the warm-up; then it stays, or falls as half a cosine that would reach
    zero one iteration after the last. It begins at `schedule.start_epoch`.
    """
    peak = specification.learning_rate
    start = specification.schedule.start_epoch * steps_per_epoch
    step -= start
    warmup = specification.schedule.warmup_epochs * steps_per_epoch
    if step + 1 < warmup:
        return peak * (step + 1) / warmup
    if specification.schedule.name == "constant":
        return peak
    falling = specification.epochs * steps_per_epoch - start - warmup
    return peak * 0.5 * (1.0 + cos(pi * max(0.0, step - warmup) / max(falling, 1.0)))
