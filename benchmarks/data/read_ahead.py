"""Trainings from a mapped file: in the page cache and not, with and without reading ahead.

    python -m benchmarks.data.read_ahead FOLDER --gib 2 --out benchmarks/results/read-ahead.md

Writes a data set of `--gib` of images into FOLDER and trains small networks on it: from memory,
from the file in the page cache, and from the file of which the page cache has nothing, in turns,
with and without announcements (`saf.training.read_ahead`). Before each cold round the cache is told
to give up the file. FOLDER has to be on a disk; a tmpfs has no cold files.
"""

from __future__ import annotations

import argparse
import mmap
import os
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.machine import machine
from saf.config import JobSpecification
from saf.config.automatic import DataFacts, resolve
from saf.data import Dataset, load
from saf.data.canonical import save
from saf.networks.build import build
from saf.training.batches import Samples
from saf.training.trainer import Trainer

GIB = 2**30
SIDE = 128
BATCH = 64
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp of 16": {"name": "mlp", "features": [16], "gain": 1.0},
    "convnet of 4": {"name": "convnet", "channels": [4], "gain": 1.0},
}


class State(NamedTuple):
    """Where the samples of a round come from."""

    words: str
    mapped: bool
    cold: bool
    ahead: bool


STATES = (
    State("memory", mapped=False, cold=False, ahead=False),
    State("file, in the page cache", mapped=True, cold=False, ahead=True),
    State("file, in the page cache, all announced", mapped=True, cold=False, ahead=True),
    State(
        "file, not in the page cache, without reading ahead", mapped=True, cold=True, ahead=False
    ),
    State("file, not in the page cache, read ahead", mapped=True, cold=True, ahead=True),
)
ALL_ANNOUNCED = 2  # of the states: as where the file had not been in the cache before


class Waiting(Samples):
    """Samples that measure how long they are waited for."""

    seconds = 0.0
    ahead = True

    def raw(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Samples`."""
        began = time.perf_counter()
        found = super().raw(indices)
        self.seconds += time.perf_counter() - began
        return found

    def announce(self, indices: torch.Tensor) -> None:
        """See `Samples`; counts as waiting."""
        began = time.perf_counter()
        if self.ahead:
            super().announce(indices)
        self.seconds += time.perf_counter() - began


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data.read_ahead", description=__doc__
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=20, help="of a round")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    here = machine(torch.device("cpu"))
    path = options.folder / "read-ahead.kept"
    _write(path, int(options.gib * GIB))
    lines = [
        "# Reading ahead",
        "",
        f"`{here['command']}` on {here['processor']}, {here['cores']} cores, load "
        f"{here['load']:.1f} at the start, {here['versions']}. {options.gib:g} GiB of images of "
        f"3 × {SIDE} × {SIDE} bytes, T = 1, one thread, batches of {BATCH}; medians of "
        f"{options.rounds} rounds of {options.iterations} iterations in turns, after one that does "
        "not count. Waiting is the time in which a batch is gathered, and the next ones announced.",
    ]
    try:
        for name, network in NETWORKS.items():
            lines += ["", *_measured(name, network, path, options.rounds, options.iterations)]
            print("\n".join(lines[-8:]), flush=True)
    finally:
        path.unlink()
    if options.out is not None:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write(path: Path, size: int) -> None:
    count = size // (3 * SIDE**2)
    noise = np.random.default_rng(0).integers(0, 256, 2**26 + 3 * SIDE**2, np.uint8)
    x = np.lib.stride_tricks.as_strided(  # no two alike, of 64 MiB of noise
        noise, (count, 3, SIDE, SIDE), (2**26 // count, SIDE**2, SIDE, 1), writeable=False
    )
    y = np.arange(count) % 7
    save(
        Dataset(
            x_train=x, y_train=y, x_test=x[:BATCH], y_test=y[:BATCH], class_names=tuple("abcdefg")
        ),
        path,
    )


def _measured(
    name: str, network: dict[str, Any], path: Path, rounds: int, iterations: int
) -> list[str]:
    mapped = load(path)
    mappings = [_mapping(x) for x in (mapped.x_train, mapped.x_test)]
    in_memory = Dataset(
        x_train=np.array(mapped.x_train),
        y_train=mapped.y_train,
        x_test=np.array(mapped.x_test),
        y_test=mapped.y_test,
        class_names=mapped.class_names,
    )
    trainers = {True: _trainer(mapped, network), False: _trainer(in_memory, network)}
    rates: dict[State, list[float]] = {state: [] for state in STATES}
    waits: dict[State, list[float]] = {state: [] for state in STATES}
    for _ in range(rounds):
        for number, state in enumerate(STATES):
            trainer = trainers[state.mapped]
            samples: Any = trainer.train_set
            if state.cold:
                _forget(path, mappings)
            elif state.mapped:
                _touch(mapped.x_train)
            samples.waited, samples.ahead = number == ALL_ANNOUNCED, state.ahead
            trainer.iterate()
            samples.seconds = 0.0
            began = time.perf_counter()
            for _ in range(iterations):
                trainer.iterate()
            rates[state].append(BATCH * iterations / (time.perf_counter() - began))
            waits[state].append(1e3 * samples.seconds / iterations)
    memory = rates[STATES[0]]
    lines = [f"| {name} | samples/s | to memory | waiting for a batch |", "|---|---|---|---|"]
    for state in STATES:
        ratio = statistics.median(a / b for a, b in zip(rates[state], memory, strict=True))
        rate, wait = (statistics.median(of[state]) for of in (rates, waits))
        lines.append(f"| {state.words} | {rate:,.0f} | {ratio:.2f} | {wait:.1f} ms |")
    return lines


def _trainer(data: Dataset, network: dict[str, Any]) -> Trainer:
    specification = JobSpecification.model_validate(
        {
            "dataset": "large",
            "timesteps": 1,
            "batch_size": BATCH,
            "epochs": 1000,
            "validation_share": 0,
            "network": network,
            "optimizer": {"name": "sgd", "learning_rate": 0.01},
        }
    )
    resolved = resolve(specification, DataFacts(len(data.y_train), 0))
    architecture = build(resolved.network, data.sample_shape, data.classes)
    trainer = Trainer(
        resolved, data, architecture, torch.device("cpu"), resume_from=None, init_from=None
    )
    trainer.choose_chunk(lambda: False)
    trainer.train_set.__class__ = Waiting
    return trainer


def _mapping(x: Any) -> mmap.mmap:
    while isinstance(x, np.ndarray):
        x = x.base
    assert isinstance(x, mmap.mmap)
    return x


def _forget(path: Path, mappings: list[mmap.mmap]) -> None:
    """Let the page cache give up the file, of which pages in use stay in it."""
    for mapping in mappings:
        mapping.madvise(mmap.MADV_DONTNEED)
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)


def _touch(x: np.ndarray) -> None:
    for start in range(0, len(x), 256):
        x[start : start + 256, :, ::8].max()


if __name__ == "__main__":
    main()
