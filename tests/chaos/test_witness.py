"""What a training process says of another one of its job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import witness
from tests.chaos.cluster import ROOT
from tests.chaos.witness import Witness, stands_still, was_killed

HOLDER = (
    "import sys, time; from pathlib import Path; from tests.chaos.witness import Witness\n"
    "with Witness(Path(sys.argv[1]), 'job', 1).alone():\n"
    "    print('holds', flush=True); time.sleep(600)\n"
)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that trains the job."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def events(directory: Path) -> set[str]:
    return {line.event for line in witness.testimonies(directory) if line.attempt == 2}


def test_another_that_trains_is_reported(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with Witness(tmp_path, "job", 2).alone():
        time.sleep(0.2)
    assert events(tmp_path) == {"start", "together", "end"}


def test_another_that_stands_still_is_reported_once_it_goes_on(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.send_signal(signal.SIGSTOP)
    while not stands_still(holder.pid):
        time.sleep(0.01)
    with Witness(tmp_path, "job", 2).alone():
        time.sleep(0.2)
        assert events(tmp_path) == {"start"}
        holder.send_signal(signal.SIGCONT)
        time.sleep(0.2)
    assert events(tmp_path) == {"start", "together", "end"}


def test_another_that_is_killed_where_it_stands_does_not_train(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    assert not was_killed(holder.pid)
    holder.send_signal(signal.SIGSTOP)
    while not stands_still(holder.pid):
        time.sleep(0.01)
    assert not was_killed(holder.pid)
    with Witness(tmp_path, "job", 2).alone():
        time.sleep(0.05)
        holder.kill()
        assert was_killed(holder.pid)  # at once, whether its files are closed or not
        time.sleep(0.2)
        assert (tmp_path / "job.lock").read_text() == str(os.getpid())
    assert events(tmp_path) == {"start", "end"}
