"""Time and memory of one iteration, measured so that a busy machine does less harm.

All contenders take turns in every round; a ratio is the median over the rounds of the ratio
within a round, so that what slows the machine down for a while slows down both sides of it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

Run = Callable[[], object]


def interleaved(
    contenders: Mapping[str, Run],
    *,
    rounds: int,
    seconds: float,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of every contender in every round; a round more than fits `seconds` is not begun.

    Each runs once before, unmeasured. At least one round is measured.
    """
    began = time.perf_counter()
    for run in contenders.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for done in range(rounds):
        for name, run in contenders.items():
            wait(device)
            start = clock()
            run()
            wait(device)
            found[name].append(clock() - start)
        spent = time.perf_counter() - began
        if spent + spent / (done + 2) > seconds:
            break
    return found


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Median over the rounds of ours / theirs."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(run: Run, device: torch.device) -> int:
    """The largest sum of bytes that `run` holds in tensors beyond what was there before.

    Exact: every allocation and release of torch's allocator is added up (on a CPU as the profiler
    reports them). What oneDNN or cuDNN take for themselves outside of it does not count.
    """
    if device.type == "cuda":
        wait(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        wait(device)
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        run()
    assert profile.profiler is not None
    assert profile.profiler.kineto_results is not None
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = largest = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        largest = max(largest, now)
    return largest
