"""Faults of processes: killed, stopped, terminated.

Each function begins one and says whether there was something to break.
"""

from __future__ import annotations

import signal

from tests.chaos.checks.witness import HANGS, hang
from tests.chaos.faults.means import Means, send, send_to_group


def kill_training(means: Means) -> bool:
    if (training := means.a_training()) is None:
        return False
    means.watch("kill a training", means.jobs_named(training.job_id))
    return send(training.pid, signal.SIGKILL)


def kill_worker(means: Means) -> bool:
    if (worker := means.victim()) is None:
        return False
    means.watch("kill a worker", means.jobs_of(worker))
    return send(worker.pid, signal.SIGKILL)


def kill_machine(means: Means) -> bool:
    machine = means.choose.choice(sorted(set(means.cluster.machines.values())))
    workers = [worker for worker in means.cluster.workers if worker.machine == machine]
    if not means.is_free(*(worker.name for worker in workers)):
        return False
    means.watch("kill a machine", means.jobs_of(*workers))
    pids = [worker.pid for worker in workers if worker.child.is_alive]
    for training in means.cluster.trainings():
        if training.machine == machine.name:
            pids.append(training.pid)
    for pid in pids:
        send(pid, signal.SIGKILL)
    return bool(pids)


def kill_api(means: Means) -> bool:
    if not means.cluster.api.child.is_alive:
        return False
    means.watch("kill the API", {}, means.cluster.answers)
    return send(means.cluster.api.pid, signal.SIGKILL)


def zombie(means: Means) -> bool:
    seconds = means.cluster.times.lease_seconds * means.choose.uniform(1.3, 2.0)
    return _stop_worker(means, "stop a worker beyond its lease", seconds)


def nap(means: Means) -> bool:
    seconds = means.cluster.times.lease_seconds * means.choose.uniform(0.1, 0.6)
    return _stop_worker(means, "stop a worker for a moment", seconds)


def _stop_worker(means: Means, kind: str, seconds: float) -> bool:
    if (worker := means.victim()) is None:
        return False
    watch = means.watch(kind, means.jobs_of(worker))
    pid = worker.pid
    send(pid, signal.SIGSTOP)
    worker.stopped = True

    def go_on() -> None:
        worker.stopped = False
        send(pid, signal.SIGCONT)

    return means.last(watch, worker.name, seconds, go_on, from_end=False)


def stop_training(means: Means) -> bool:
    if (training := means.a_training()) is None:
        return False
    watch = means.watch("stop a training for a moment", means.jobs_named(training.job_id))
    send(training.pid, signal.SIGSTOP)
    seconds = means.choose.uniform(0.5, 3.0)

    def go_on() -> None:
        send(training.pid, signal.SIGCONT)

    return means.last(watch, f"training {training.pid}", seconds, go_on)


def hang_training(means: Means) -> bool:
    """For good: stopped by a signal, waiting for what never comes, or computing without an end.

    Nobody pauses or cancels its job, so that only the watchdog can end it.
    """
    running = means.observer.in_status("running")
    if (training := means.a_training(of=running, unless=means.memory.hung)) is None:
        return False
    with means.memory.lock:
        means.memory.hung.add((training.job_id, training.attempt))
    means.watch("hang a training", means.jobs_named(training.job_id))
    how = means.choose.choice(("stopped", *HANGS))
    if how == "stopped":
        return send_to_group(training.pid, signal.SIGSTOP)
    hang(means.cluster.evidence, training.job_id, training.attempt, how)
    return True


def terminate(means: Means) -> bool:
    if (worker := means.victim()) is None:
        return False
    means.watch("terminate a worker", means.jobs_of(worker))
    return send(worker.pid, signal.SIGTERM)
