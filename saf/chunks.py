"""How many time steps a training takes at once: K, as asked for, by a rule, or measured.

More steps at once fill a GPU, or the cores of a CPU, with fewer and larger operations, and keep
more memory. The rule, `saf.forecast.steps_at_once`, comes from measurements on CPUs
(`benchmarks.chunks`); where the first iterations show that more steps pay, a long training takes
more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter

import torch

from saf.architecture import Architecture
from saf.checkpoint import Progress
from saf.config import JobSpecification, takes_steps_at_once
from saf.environment import forget_peak_memory, memory_bytes
from saf.failures import is_lack_of_memory
from saf.forecast import forecast, steps_at_once

FEWEST_ITERATIONS = 1000  # of a training that measures; a trial of one K takes three
FEWEST_SECONDS = (
    60.0  # that its iterations take by the first trial; a shorter one keeps to the rule
)
TIMED = 2  # iterations of a trial, after one that is not timed
WORTH = 0.9
"""Share of the time that an iteration has to come down to for twice the steps and their memory."""
MOST_MEMORY = 0.25  # of the device, by the forecast

logger = logging.getLogger(__name__)


def chosen(
    progress: Progress,
    specification: JobSpecification,
    architecture: Architecture,
    samples: int,
    iterations: int,
    device: torch.device,
    iterate: Callable[[int], None],
    *,
    stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = perf_counter,
) -> int | None:
    """K for a training of so many `iterations` with up to `samples` samples at once; None for
    methods that take one step after the other.

    `iterate(k)` computes an iteration that leaves nothing behind, with K = k. `progress` remembers
    K: a training that goes on, goes on with it. `stop` is asked before a trial.
    """
    if not takes_steps_at_once(specification.method):
        return None
    found = specification.timesteps_at_once or progress.timesteps_at_once
    if architecture.has_feedback:
        found = 1
    if found is None:
        found = steps_at_once(samples, specification.timesteps)
        if progress.step == 0 and iterations >= FEWEST_ITERATIONS:
            most = _most(specification, architecture, device)
            seconds_with = seconds_of(iterate, device, clock)
            if most > found and (seconds := seconds_with(found)) * iterations >= FEWEST_SECONDS:
                found = fastest(seconds_with, found, seconds, most, stop)
                forget_peak_memory(device)
    progress.timesteps_at_once = found
    return found


def fastest(
    seconds_with: Callable[[int], float],
    fewest: int,
    seconds: float,
    most: int,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """From `fewest` steps at once, which take `seconds`, twice as many, up to `most`, as long as
    that is worth it."""
    best = fewest
    while best < most and not stop():
        more = min(2 * best, most)
        try:
            of_more = seconds_with(more)
        except (MemoryError, RuntimeError) as error:
            if not is_lack_of_memory(error):
                raise
            logger.info("%d time steps at once do not fit into the memory", more)
            break
        logger.info(
            "an iteration takes %.3g s with %d time steps at once, %.3g s with %d",
            *(seconds, best, of_more, more),
        )
        if of_more > WORTH * seconds:
            break
        best, seconds = more, of_more
    return best


def _most(specification: JobSpecification, architecture: Architecture, device: torch.device) -> int:
    """The largest K that is tried: that for which the forecast stays below `MOST_MEMORY`."""
    limit = int(MOST_MEMORY * memory_bytes(device))
    for k in range(specification.timesteps, 1, -1):
        asked = specification.model_copy(update={"timesteps_at_once": k})
        if forecast(asked, architecture, limit_bytes=limit).memory_bytes <= limit:
            return k
    return 1


def seconds_of(
    iterate: Callable[[int], None],
    device: torch.device,
    clock: Callable[[], float] = perf_counter,
) -> Callable[[int], float]:
    """How long `iterate(k)` takes, by k: the shortest of `TIMED`."""

    def seconds_with(k: int) -> float:
        times = []
        for _ in range(1 + TIMED):
            began = clock()
            iterate(k)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(clock() - began)
        return min(times[1:])

    return seconds_with
