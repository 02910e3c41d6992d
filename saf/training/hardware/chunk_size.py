"""How many time steps a training takes at once: K, as asked for, by a rule, or by trying it out.

More steps at once fill a device with fewer and larger operations, and keep more memory. The rule,
`saf.estimate.chunking.steps_at_once`, comes from measurements on CPUs
(`benchmarks.speed.chunks`), where more gain little. What a GPU gains depends on the GPU and was not
measured; with `SAF_GPU_TUNING` a long training tries it out there first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter

import torch

from saf.config import ResolvedSpecification
from saf.estimate.chunking import steps_at_once
from saf.estimate.memory import forecast
from saf.networks.architecture import Architecture
from saf.training.checkpoint import Progress
from saf.training.hardware import tuning
from saf.training.hardware.environment import forget_peak_memory, free_memory_bytes

FEWEST_ITERATIONS = 1000  # of a training that measures; to time one K takes three
FEWEST_SECONDS = 60.0  # that they take by the first measurement
TIMED = 2  # iterations of a measurement, after one that is not timed
WORTH = 0.9
"""Share of the time that an iteration has to come down to for twice the steps and their memory."""
MOST_MEMORY = 0.25  # of what is free on the device, by the forecast

logger = logging.getLogger(__name__)


class _StoppedError(Exception):
    """Raised when the training is asked to stop during a measurement."""


def chosen(
    progress: Progress,
    specification: ResolvedSpecification,
    architecture: Architecture,
    samples: int,
    iterations: int,
    device: torch.device,
    iterate: Callable[[int], None],
    *,
    in_time: bool = False,
    stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = perf_counter,
) -> int | None:
    """K for a training of so many `iterations` with up to `samples` samples at once, which may
    change over time (`in_time`); None for methods that take one step after the other.

    `iterate(k)` computes an iteration that leaves nothing behind, with K = k; `stop` is asked
    before each. `progress` remembers K unless it was asked for: a training that goes on, goes on
    with it. Who was asked to stop takes the rule's, and measures the next time.
    """
    if not specification.method.takes_steps_at_once:
        return None
    if architecture.has_feedback and not specification.method.loss_at_each_step:
        return 1
    if specification.timesteps_at_once is not None:
        return specification.timesteps_at_once
    if progress.timesteps_at_once is not None:
        return progress.timesteps_at_once
    found = steps_at_once(samples, specification.timesteps, architecture, in_time=in_time)
    if tuning.is_for(device) and iterations >= FEWEST_ITERATIONS:
        most = _most(specification, architecture, samples, device, in_time)
        seconds_with = seconds_of(iterate, device, clock, stop)
        try:
            if most > found and (seconds := seconds_with(found)) * iterations >= FEWEST_SECONDS:
                found = fastest(seconds_with, found, seconds, most)
        except _StoppedError:
            return found
        finally:
            forget_peak_memory(device)
    progress.timesteps_at_once = found
    return found


def fastest(seconds_with: Callable[[int], float], fewest: int, seconds: float, most: int) -> int:
    """From `fewest` steps at once, which take `seconds`, twice as many, up to `most`, as long as
    that is worth it."""
    best = fewest
    while best < most:
        more = min(2 * best, most)
        try:
            of_more = seconds_with(more)
        except (MemoryError, RuntimeError) as error:  # too little memory, also for a convolution
            said = str(error).partition("\n")[0]
            logger.info("%d time steps at once do not work here: %s", more, said)
            break
        logger.info(
            "an iteration takes %.3g s with %d time steps at once, %.3g s with %d",
            *(seconds, best, of_more, more),
        )
        if of_more > WORTH * seconds:
            break
        best, seconds = more, of_more
    return best


def seconds_of(
    iterate: Callable[[int], None],
    device: torch.device,
    clock: Callable[[], float] = perf_counter,
    stop: Callable[[], bool] = lambda: False,
) -> Callable[[int], float]:
    """Duration of `iterate(k)`, by k: the shortest of `TIMED`."""

    def seconds_with(k: int) -> float:
        times = []
        for _ in range(1 + TIMED):
            if stop():
                raise _StoppedError
            began = clock()
            iterate(k)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(clock() - began)
        return min(times[1:])

    return seconds_with


def _most(
    specification: ResolvedSpecification,
    architecture: Architecture,
    samples: int,
    device: torch.device,
    in_time: bool,
) -> int:
    """The largest K that is tried: that for which the forecast stays below `MOST_MEMORY`."""
    limit = int(MOST_MEMORY * free_memory_bytes(device))
    for k in range(specification.timesteps, 1, -1):
        asked = {"timesteps_at_once": k, "batch_size": samples, "micro_batches": 1}
        job = specification.model_copy(update=asked)
        needed = forecast(job, architecture, limit_bytes=limit, in_time=in_time)
        if needed.training_bytes <= limit:
            return k
    return 1
