"""Where a measurement was taken."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import sys
from pathlib import Path

import torch


def machine(device: torch.device) -> dict[str, object]:
    """Processor, device, versions and the command, as JSON values."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for package in ("spikingjelly", "numpy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions,
        "command": f"python -m {_module()} {shlex.join(sys.argv[1:])}".strip(),
    }


def _module() -> str:
    spec = sys.modules["__main__"].__spec__
    return "benchmarks" if spec is None else spec.name


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "")
