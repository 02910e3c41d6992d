"""Devices of this machine, divided into slots: one job each, one GPU each.

`nvidia-smi` lists the GPUs, so that the worker needs no torch.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from saf.cores import cores

ASK = ("--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader")


@dataclass(frozen=True, kw_only=True)
class GPU:
    """One card, as `nvidia-smi` names it."""

    index: str
    uuid: str
    name: str
    memory: str


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Capacity for one training at a time."""

    number: int
    device: str  # what torch calls it inside the training process: cpu or cuda
    label: str  # what people read
    environment: dict[str, str]  # limits the training process to its device and its cores


def slots(*, wanted: int, environment: Mapping[str, str], threads: int = 0) -> list[Slot]:
    """Divide this machine into slots; `wanted` 0 means one per GPU, or one on the CPU.

    With more slots than GPUs, several share one. `threads` 0 divides the cores by the slots. The
    number does not depend on what trains at the moment, because the last bits of a job depend on
    it.
    """
    cards = gpus(environment)
    count = wanted or len(cards) or 1
    threads = threads or max(1, cores() // count)
    return [_slot(number, cards, threads) for number in range(count)]


def gpus(environment: Mapping[str, str]) -> list[GPU]:
    """GPUs that `CUDA_VISIBLE_DEVICES` leaves; none where `nvidia-smi` does not answer."""
    program = shutil.which("nvidia-smi", path=environment.get("PATH"))
    if program is None:
        return []
    try:
        answer = subprocess.run(
            [program, *ASK], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    cards = []
    for line in answer.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 4:
            cards.append(GPU(index=fields[0], uuid=fields[1], name=fields[2], memory=fields[3]))
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return cards
    named = [name.strip() for name in visible.split(",") if name.strip()]
    return [card for card in cards if any(_names(card, name) for name in named)]


def _names(card: GPU, name: str) -> bool:
    return name == card.index or (len(name) >= 8 and card.uuid.startswith(name))


def _slot(number: int, cards: list[GPU], threads: int) -> Slot:
    environment = {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        # A thread that waits gives its core away. With others on the machine, and API and broker
        # are, threads that spin instead made a small training some fifteen times slower.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    if not cards:
        return Slot(
            number=number,
            device="cpu",
            label=f"cpu ({threads} thread{'s' if threads > 1 else ''})",
            environment={**environment, "CUDA_VISIBLE_DEVICES": ""},
        )
    card = cards[number % len(cards)]
    return Slot(
        number=number,
        device="cuda",
        label=f"cuda:{card.index} {card.name}, {card.memory}",
        environment={**environment, "CUDA_VISIBLE_DEVICES": card.uuid or card.index},
    )
