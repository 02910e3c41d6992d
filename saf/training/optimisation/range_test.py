"""A short range test of the learning rate, where the rule for it is unsure.

After L. N. Smith, "Cyclical learning rates for training neural networks", arXiv 1506.01186, turned
round: the rate of the rule is tried first, and lowered until the loss falls.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import isfinite

from saf.config import SGD, ResolvedSpecification
from saf.config.automatic import has_automatic_rate, rate_of

TRIED = (1.0, 1 / 4, 1 / 16, 1 / 64)  # times the rate of the rule
ITERATIONS = 12  # of each try
LAST = 4  # of them, whose mean loss has to be below that of the first; fewer of a short training
logger = logging.getLogger(__name__)


def is_unsure(specification: ResolvedSpecification) -> bool:
    """Whether the rate came from the rule where it is least sure: for SGD, whose rates depend on
    the scale of the gradient, and for networks of one's own layers."""
    if not has_automatic_rate(specification):
        return False
    return isinstance(specification.optimizer, SGD) or specification.network.own_layers


def is_to_test(specification: ResolvedSpecification) -> bool:
    """Whether the rate is to be tested before the first iteration: it is unsure, and still that of
    the rule. Another one is what a test found, or what somebody wrote over it in the specification
    of a report."""
    return is_unsure(specification) and specification.learning_rate == rate_of(specification)


def rate_that_learns(rate: float, losses_at: Callable[[float, int], list[float]]) -> float:
    """The largest of the tried rates at which the loss of a few iterations ends below its start.

    `losses_at(rate, iterations)` are the losses of the first iterations at that rate; it leaves
    nothing behind. Where none falls, the smallest rate is returned; where there is one iteration
    alone, no loss can fall and `rate` stays.
    """
    for factor in TRIED:
        tried = float(f"{factor * rate:.2g}")
        losses = losses_at(tried, ITERATIONS)
        if len(losses) < 2:
            return rate
        ends = losses[1:][-LAST:]
        last = sum(ends) / len(ends)
        falls = all(map(isfinite, losses)) and last < losses[0]
        logger.info(
            "range test: at a learning rate of %g the loss goes from %.4g to %.4g",
            *(tried, losses[0], last),
        )
        if falls:
            break
    return tried
