"""Use of the machine by a training: memory, and how busy the device is."""

from __future__ import annotations

import os
from time import perf_counter, process_time

import torch

from saf.training.hardware.environment import peak_memory_bytes

EVERY_SECONDS = 1.0


class Usage:
    """Measures at most once a second, which costs some microseconds."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._looked: float | None = None
        self._since, self._worked = perf_counter(), process_time()

    def read(self) -> dict[str, float]:
        """`memory_bytes`, and `device_use` (0 to 1) where it can be told; {} within the second.

        On a CPU: the size of this process in memory, and its processor time over that of all of
        torch's threads since the last look. On a GPU: what torch holds there, and the share of
        time with a kernel at work, as its driver says where `pynvml` is installed.
        """
        now = perf_counter()
        if self._looked is not None and now - self._looked < EVERY_SECONDS:
            return {}
        self._looked = now
        if self._device.type == "cuda":
            return {"memory_bytes": float(torch.cuda.memory_reserved(self._device))} | self._busy()
        worked = process_time()
        available = (now - self._since) * torch.get_num_threads()
        use = (worked - self._worked) / max(available, 1e-9)
        self._since, self._worked = now, worked
        return {"memory_bytes": float(_resident_bytes()), "device_use": min(1.0, use)}

    def _busy(self) -> dict[str, float]:
        try:
            return {"device_use": torch.cuda.utilization(self._device) / 100.0}
        except Exception:  # no pynvml, or a GPU, a slice of one or a container that does not tell
            return {}


def _resident_bytes() -> int:
    """Bytes of this process in main memory; its peak where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return peak_memory_bytes(torch.device("cpu"))
