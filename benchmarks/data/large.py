"""Large data sets: memory and time of a check, of an upload, and of trainings from the mapped file.

    python -m benchmarks.data.large FOLDER --gib 2 --out benchmarks/results/large.md

Makes `--gib` of images (PNG in a zip), of an .npz and of events (N-MNIST's .bin in a zip) below
FOLDER, which needs ten times as much room, checks each as the service does, sends each in
pieces to `saf serve`, whose web process is killed half-way, and trains on the images from the file,
mapped, and from memory, in turns.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from benchmarks.machine import machine
from benchmarks.service.throughput import Service
from benchmarks.service.viewers import processor_seconds, web_process
from saf.client import Client
from saf.config import JobSpecification
from saf.config.automatic import DataFacts, resolve
from saf.data import Dataset, load
from saf.networks.build import build
from saf.training.batches import Batches, Samples
from saf.training.trainer import Trainer

GIB = 2**30
SIDE = 128
EVENTS = 4_200  # of a recording, as N-MNIST has in the mean
MEMORY = 2 * GIB  # what the service gives a check
ROUNDS = 3
PARTS = ("images", "npz", "events", "upload", "training")


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data.large", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    size = int(options.gib * GIB)
    here = machine(torch.device("cpu"))
    lines = [
        "# Large data sets",
        "",
        f"`{here['command']}` on {here['processor']}, {here['cores']} cores, load "
        f"{here['load']:.1f} at the start, {here['versions']}. Processor time counts; wall time is "
        "that of a machine that others use.",
        "",
    ]
    if {"images", "npz", "events"} & set(options.only):
        lines += [
            "## A check",
            "",
            "| what | file | kept | wall | processor | private memory | mapped at most |",
            "|---|---|---|---|---|---|---|",
        ]
    kinds = (("images", images), ("npz", npz), ("events", events))
    for name, make in kinds:
        if name not in options.only:
            continue
        path = make(options.folder, size)
        found = checked(path, options.folder / f"{name}.kept")
        lines.append(
            f"| {name} | {_gib(path.stat().st_size)} | {_gib(found['kept'])} "
            f"| {found['wall']:.0f} s | {found['cpu']:.0f} s | {found['private'] / 2**20:.0f} MiB "
            f"| {_gib(found['mapped'])} |"
        )
        print(lines[-1], flush=True)
        path.unlink()
    if "upload" in options.only:
        for name, make in kinds:
            lines += ["", f"## An upload, {name}", "", *uploaded(make(options.folder, size))]
            print("\n".join(lines[-15:]), flush=True)
    if "training" in options.only:
        lines += ["", "## Training", "", *training(options.folder / "images.kept")]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


def images(folder: Path, size: int) -> Path:
    """PNGs of noise, which pack to what they unpack to."""
    path, generator = folder / "images.zip", np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(size // (3 * SIDE**2)):
            file = io.BytesIO()
            picture = generator.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            Image.fromarray(picture).save(file, "png", compress_level=0)
            split = "test" if index % 10 == 0 else "train"
            archive.writestr(f"{split}/{index % 7}/{index}.png", file.getvalue())
    return path


def npz(folder: Path, size: int) -> Path:
    """Bytes `N 3 128 128`, the training samples ten times the test samples."""
    path, count = folder / "d.npz", size // (3 * SIDE**2)
    noise = np.random.default_rng(1).integers(0, 256, (count, 3, SIDE, SIDE), np.uint8)
    y, test = np.arange(count) % 7, count // 10
    np.savez(path, x_train=noise[test:], y_train=y[test:], x_test=noise[:test], y_test=y[:test])
    return path


def events(folder: Path, size: int) -> Path:
    """Recordings of N-MNIST's kind and length."""
    path, generator = folder / "events.zip", np.random.default_rng(2)
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(size // (5 * EVENTS)):
            t = np.sort(generator.integers(0, 300_000, EVENTS))
            raw = np.empty((EVENTS, 5), np.uint8)
            raw[:, :2] = generator.integers(0, 34, (EVENTS, 2))
            raw[:, 2] = (generator.integers(0, 2, EVENTS) << 7) | (t >> 16)
            raw[:, 3], raw[:, 4] = t >> 8 & 255, t & 255
            split = "Test" if index % 10 == 0 else "Train"
            archive.writestr(f"{split}/{index % 7}/{index:06d}.bin", raw.tobytes())
    return path


def checked(path: Path, kept: Path) -> dict[str, Any]:
    """What the process of a check took: wall and processor time, most memory of its own, most
    bytes of files that were mapped."""
    result = kept.with_suffix(".json")
    command = [
        *(sys.executable, "-m", "saf.processes.check_dataset", str(path), str(kept)),
        *("--result", str(result), "--preview", str(kept.with_suffix(".png"))),
        *("--max-archive-bytes", str(8 * GIB), "--max-unpacked-bytes", str(16 * GIB)),
        *("--max-memory-bytes", str(MEMORY)),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    began, before = time.perf_counter(), os.times()
    private = mapped = 0
    with subprocess.Popen(command, env=environment) as process:
        while process.poll() is None:
            status = _status(process.pid)
            private = max(private, status.get("RssAnon", 0))
            mapped = max(mapped, status.get("RssFile", 0) + status.get("RssShmem", 0))
            time.sleep(0.05)
    after = os.times()
    verdict = json.loads(result.read_text())
    assert verdict["ok"], verdict
    return {
        "wall": time.perf_counter() - began,
        "cpu": after.children_user
        + after.children_system
        - before.children_user
        - before.children_system,
        "private": private,
        "mapped": mapped,
        "kept": kept.stat().st_size,
    }


def uploaded(path: Path) -> list[str]:
    """What it takes to send a file in pieces to a service of its own, which is killed half-way, and
    to make a data set of it. The file is removed."""
    folder = path.parent / "service"
    folder.mkdir()
    length, watched, killed = path.stat().st_size, Watched(), list[int]()
    arrived: list[tuple[float, int]] = []
    service = Service(folder, warm=False)
    watch = threading.Thread(target=watched.until_done, args=(service.pid,))
    watch.start()

    def progress(sent: int, total: int) -> None:
        arrived.append((time.perf_counter(), sent))
        if sent > total / 2 and not killed:
            killed.append(web_process(service.pid))
            os.kill(killed[0], signal.SIGKILL)

    try:
        began, before = time.perf_counter(), time.process_time()
        with Client(str(service.http.base_url)) as client:
            dataset = client.upload_dataset(path, name="large", progress=progress)
            client_seconds = time.process_time() - before
            dataset = client.wait_dataset(dataset["id"])
        ended = time.perf_counter()
        assert dataset["status"] == "ready", dataset
        assert killed
        uploads = folder / "data" / "uploads"
        while any(uploads.glob("ds_*")):  # what was checked goes after the answer
            time.sleep(0.1)
        left = sum(f.stat().st_size for f in uploads.rglob("data"))
        kept = sum(f.stat().st_size for f in (folder / "data").rglob("*") if f.is_file())
    finally:
        watched.done.set()
        watch.join()
        service.stop()
        shutil.rmtree(folder)
        path.unlink()
    sent = arrived[-1][0] - began
    away = max(after[0] - before_[0] for before_, after in itertools.pairwise(arrived))
    return [
        "| | |",
        "|---|---|",
        f"| sent | {_gib(length)} in {sent:.0f} s, {length / sent / 2**20:.0f} MiB/s |",
        f"| processor time of the client, with SHA-256 of each piece | {client_seconds:.0f} s |",
        f"| processor time of the web process | {watched.seconds['web']:.0f} s |",
        f"| private memory of the web process at most | {watched.private['web'] / 2**20:.0f} MiB |",
        f"| longest time without a piece: the web process was killed | {away:.1f} s |",
        f"| from the last piece until the data set is `ready` | {ended - arrived[-1][0]:.0f} s |",
        f"| processor time of the check | {watched.seconds['check']:.0f} s |",
        f"| private memory of the check at most | {watched.private['check'] / 2**20:.0f} MiB |",
        f"| bytes of the upload that are left | {left} |",
        f"| the data directory at the end | {_gib(kept)} |",
    ]


class Watched:
    """Memory and processor time of the processes of a service, by what they do."""

    NAMES: ClassVar[dict[str, bytes]] = {
        "web": b"api.commands.web",
        "check": b"saf.processes.check_dataset",
    }

    def __init__(self) -> None:
        self.done = threading.Event()
        self.private = dict.fromkeys(self.NAMES, 0)
        self._seconds: dict[tuple[str, int], float] = {}

    @property
    def seconds(self) -> dict[str, float]:
        """Processor time of all processes of a kind."""
        return {
            name: sum(s for (kind, _), s in self._seconds.items() if kind == name)
            for name in self.NAMES
        }

    def until_done(self, parent: int) -> None:
        """Look at them again and again."""
        while not self.done.wait(0.2):
            for pid in _descendants(parent):
                try:
                    command = Path(f"/proc/{pid}/cmdline").read_bytes()
                    seconds = processor_seconds(pid)
                except (OSError, ValueError, IndexError):
                    continue  # it has ended
                for name, part in self.NAMES.items():
                    if part in command:
                        private = _status(pid).get("RssAnon", 0)
                        self.private[name] = max(self.private[name], private)
                        self._seconds[name, pid] = seconds


def _descendants(parent: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            parents[int(entry.name)] = int(fields[1])
    found = [parent]
    for pid in found:
        found += [child for child, above in parents.items() if above == pid]
    return found[1:]


def training(kept: Path) -> list[str]:
    """Samples a second from the file and from memory: batches alone, and iterations of a small
    convolutional network."""
    mapped = load(kept)
    in_memory = Dataset(
        x_train=np.array(mapped.x_train),
        y_train=mapped.y_train,
        x_test=mapped.x_test,
        y_test=mapped.y_test,
        class_names=mapped.class_names,
    )
    sources = {"file": mapped, "memory": in_memory}
    rates: dict[tuple[str, str], list[float]] = {}
    trainers = {name: _trainer(data) for name, data in sources.items()}
    for name in sources:  # the file is in the cache, and every page was touched
        _batches(sources[name])
    for _ in range(ROUNDS):
        for name, data in sources.items():
            rates.setdefault(("batches alone", name), []).append(_batches(data))
            rates.setdefault(("iterations", name), []).append(_iterations(trainers[name]))
    lines = ["| | from the file | from memory | file / memory |", "|---|---|---|---|"]
    for what in ("batches alone", "iterations"):
        file, memory = (statistics.median(rates[what, name]) for name in ("file", "memory"))
        lines.append(
            f"| {what} | {file:,.0f} samples/s | {memory:,.0f} samples/s | {file / memory:.3f} |"
        )
    share = statistics.median(rates["iterations", "file"]) / statistics.median(
        rates["batches alone", "file"]
    )
    lines += [
        "",
        f"Medians of {ROUNDS} rounds in turns, one thread, batches of 64 of 3 × {SIDE} × {SIDE} "
        "bytes, the file in the page cache. A batch takes "
        f"{100 * share:.1f} % of the time of an iteration: what a thread that prepares the next "
        "one could save at most.",
    ]
    return lines


def _trainer(data: Dataset) -> Trainer:
    specification = JobSpecification.model_validate(
        {
            "dataset": "large",
            "timesteps": 2,
            "batch_size": 64,
            "epochs": 100,
            "validation_share": 0,
            "network": {"name": "convnet", "channels": [8, 8], "gain": 1.0},
            "optimizer": {"name": "sgd", "learning_rate": 0.01},
        }
    )
    resolved = resolve(specification, DataFacts(len(data.y_train), 0))
    architecture = build(resolved.network, data.sample_shape, data.classes)
    trainer = Trainer(
        resolved, data, architecture, torch.device("cpu"), resume_from=None, init_from=None
    )
    trainer.choose_chunk(lambda: False)
    return trainer


def _batches(data: Dataset) -> float:
    samples = Samples(data.x_train, data.y_train, torch.device("cpu"), torch.float32, data.unit)
    batches = Batches(len(samples), 64, seed=0)
    began = time.perf_counter()
    for step in range(batches.per_epoch):
        samples[batches[step]]
    return len(samples) / (time.perf_counter() - began)


def _iterations(trainer: Trainer, count: int = 20) -> float:
    began = time.perf_counter()
    for _ in range(count):
        trainer.iterate()
    return 64 * count / (time.perf_counter() - began)


def _status(pid: int) -> dict[str, int]:
    """Bytes by the names of /proc/PID/status; nothing once it has ended."""
    try:
        rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    split = [row.split() for row in rows if row.endswith(" kB")]
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in split}


def _gib(count: int) -> str:
    return f"{count / GIB:.2f} GiB"


if __name__ == "__main__":
    main()
