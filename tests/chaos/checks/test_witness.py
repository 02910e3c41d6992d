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

from tests.chaos.checks import witness
from tests.chaos.checks.witness import HANGS, Witness, hang, stands_still, was_killed
from tests.chaos.cluster import ROOT
from tests.waiting import until

HOLDER = (
    "import sys, time; from pathlib import Path\n"
    "from tests.chaos.checks.witness import Witness\n"
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
        until(lambda: "together" in events(tmp_path))
    assert events(tmp_path) == {"start", "together", "end"}


def test_another_that_stands_still_is_reported_once_it_goes_on(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.send_signal(signal.SIGSTOP)
    until(lambda: stands_still(holder.pid))
    with Witness(tmp_path, "job", 2).alone():
        time.sleep(0.2)
        assert events(tmp_path) == {"start"}
        holder.send_signal(signal.SIGCONT)
        until(lambda: "together" in events(tmp_path))
    assert events(tmp_path) == {"start", "together", "end"}


@pytest.mark.parametrize("how", HANGS)
def test_an_attempt_that_is_told_to_hang_makes_no_progress(tmp_path: Path, how: str) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.chaos.checks.witness import Witness\n"
        "witness = Witness(Path(sys.argv[1]), 'job', 2)\n"
        "witness.hang_if_told(step=3); witness.say('resumed')\n"
        "witness.hang_if_told(step=4); witness.say('end')\n"
    )
    hang(tmp_path, "job", 3, how)  # another attempt
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert events(tmp_path) == {"resumed", "end"}

    hang(tmp_path, "job", 2, how)
    with subprocess.Popen(command, cwd=ROOT) as process:
        while "hangs" not in events(tmp_path):
            assert process.poll() is None
            time.sleep(0.01)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.kill()


def test_another_that_is_killed_where_it_stands_does_not_train(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    assert not was_killed(holder.pid)
    holder.send_signal(signal.SIGSTOP)
    until(lambda: stands_still(holder.pid))
    assert not was_killed(holder.pid)
    with Witness(tmp_path, "job", 2).alone():
        time.sleep(0.05)
        holder.kill()
        assert was_killed(holder.pid)  # at once, whether its files are closed or not
        until(lambda: (tmp_path / "job.lock").read_text() == str(os.getpid()))
    assert events(tmp_path) == {"start", "end"}
