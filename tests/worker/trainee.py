"""A training without torch, run by the real `worker.processes.child`. Its metadata steers it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from saf.errors import DivergedError, OutOfMemoryError
from saf.training.events import (
    Artifact,
    Checking,
    Checkpoint,
    Converting,
    Epoch,
    Evaluation,
    Finished,
    Report,
    Started,
    Step,
)
from worker.processes.child import main
from worker.processes.protocol import Order

STEPS_PER_EPOCH = 10


def spin() -> None:
    while True:
        pass


def hold(stop: Callable[[], bool], until: str | None) -> None:
    """Be in the middle of a training for as long as a test wants to look at one, which may make a
    file when it has."""
    while not (stop() or (until is not None and Path(until).exists())):
        time.sleep(0.01)


def next_batch() -> None:
    """Wait for a process of a data loader that waits for a lock which this one holds."""
    from multiprocessing import get_context
    from typing import Any

    import torch.utils.data

    lock = get_context("fork").Lock()

    class Samples(torch.utils.data.Dataset[int]):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: Any) -> int:
            with lock:
                return int(index)

    with lock:
        next(iter(torch.utils.data.DataLoader(Samples(), num_workers=1)))


def train(order: Order, stop: Callable[[], bool]) -> Iterator[Report]:
    wish = order.specification["metadata"]
    steps = int(wish.get("steps", "40"))
    pause = float(wish.get("step_seconds", "0.005"))
    directory = Path(order.directory)
    print("environment", json.dumps(dict(os.environ)))
    if "ignore_term" in wish:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "grandchild" in wish:
        subprocess.Popen(["sleep", "600"])
    if "deadlock_at" in wish:
        pass  # takes seconds, which would be a stall where it hangs
    step, state = 0, "seed"
    if order.resume_from is not None:
        if "resume_after" in wish:
            hold(stop, wish["resume_after"])
        saved = json.loads(Path(order.resume_from).read_text())
        step, state = saved["step"], saved["state"]
    elif order.init_from is not None:
        state = f"from {Path(order.init_from).read_text()}"
    if order.inherited:
        print("from the checkpoint of another job")
    yield Started(
        step=step, steps_total=steps, steps_per_epoch=STEPS_PER_EPOCH, parameters=1, device="none"
    )
    while step < steps:
        time.sleep(pause)
        step += 1
        state = hashlib.sha256(f"{state}{step}".encode()).hexdigest()
        yield Step(step=step, epoch=step / STEPS_PER_EPOCH, metrics={"loss": 1 / step})
        if f"print_at_{step}" in wish:
            print(wish[f"print_at_{step}"] * int(wish.get("times", "1")))
        if step == int(wish.get("diverge_at", "-1")):
            raise DivergedError(f"the loss is NaN at step {step}", hint="lower the learning rate")
        at_once = order.specification["batch_size"] // order.specification["micro_batches"]
        if step == 15 and at_once > int(wish.get("samples_that_fit", at_once)):
            raise OutOfMemoryError(f"{at_once} do not fit", hint="take less", samples=at_once // 2)
        if step == int(wish.get("lose_device_at", "-1")) and order.resume_from is None:
            raise RuntimeError("CUDA error: unspecified launch failure")
        if step == int(wish.get("crash_at", "-1")):
            raise RuntimeError("a defect")
        if step == int(wish.get("die_at", "-1")) and order.resume_from is None:
            os.kill(os.getpid(), signal.SIGKILL)
        if step == int(wish.get("hang_at", "-1")):
            time.sleep(600)
        if order.resume_from is None and step == int(wish.get("spin_at", "-1")):
            spin()
        if order.resume_from is None and step == int(wish.get("suspend_at", "-1")):
            os.kill(os.getpid(), signal.SIGSTOP)
        if order.resume_from is None and step == int(wish.get("hold_at", "-1")):
            hold(stop, wish.get("hold_until"))
        if order.resume_from is None and step == int(wish.get("deadlock_at", "-1")):
            next_batch()
        ends = step % STEPS_PER_EPOCH == 0
        if ends:
            epoch = step // STEPS_PER_EPOCH
            yield Epoch(step=step, epoch=epoch, metrics={"train_loss": 1 / step})
            time.sleep(float(wish.get("evaluation_seconds", "0")))
            of_epoch = step / 1000
            metrics = {"val_accuracy": of_epoch}
            yield Evaluation(step=step, epoch=epoch, metrics=metrics, best_accuracy=of_epoch)
        asked = stop() and "ignore_stop" not in wish
        if ends or asked:
            path = directory / f"step-{step:012d}.safetensors"
            path.write_text(json.dumps({"step": step, "state": state}))
            yield Checkpoint(step=step, epoch=step // STEPS_PER_EPOCH, path=path)
            path.unlink()
        if asked:
            return
    yield Converting(step=step)
    for done in range(1, int(wish.get("samples_to_check", "0")) + 1):
        yield Checking(done=done, total=int(wish["samples_to_check"]))
        time.sleep(pause)
        if stop():
            return
    (directory / "lif.safetensors").write_text(state)
    yield Artifact(name="lif.safetensors", kind="network", path=directory / "lif.safetensors")
    yield Finished(step=step, summary={"val_accuracy": step / 1000, "odd": float("nan")})


if __name__ == "__main__":
    sys.exit(main(train))
