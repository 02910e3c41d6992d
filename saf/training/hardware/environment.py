"""The environment of a training that its result may depend on: versions, machine, settings."""

from __future__ import annotations

import logging
import os
import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from saf.config import Precision
from saf.kernels.precision import cudnn, on_device, products
from saf.registry import plugins
from saf.training.checkpoint import Progress

logger = logging.getLogger(__name__)
PACKAGES = ("saf-snn", "torch", "numpy", "safetensors", "pydantic", "pillow")
SERVICE = "saf-service"  # named where it is installed


def environment(device: torch.device, precision: Precision) -> dict[str, Any]:
    """Versions, machine and settings that a result may depend on; `precision` as asked for, and in
    what comes back as it was on `device`."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "device": device_name(device),
        "precision": on_device(precision, device),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "deterministic_warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "packages": _packages(),
    }


def device_name(device: torch.device) -> str:
    """The device as people know it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


def memory_bytes(device: torch.device) -> int:
    """The memory of a GPU, or of this machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_memory_bytes(device: torch.device) -> int:
    """Free memory of a GPU."""
    return torch.cuda.mem_get_info(device)[0]


def peak_memory_bytes(device: torch.device) -> int:
    """CUDA: the most bytes of tensors at once; CPU: the largest size of this process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak_memory(device: torch.device) -> None:
    """On a GPU, release cached memory, and count the peak from now on."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Choose the algorithms that give the same bits every time, and put back what was chosen.

    On a CPU the operations of a training are so already, for one number of threads. On a GPU
    products in float32 are then float32, and not TF32, but where `saf.kernels.precision.products`
    says so.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    before = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    filling: Any = torch.utils.deterministic
    filled = filling.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    # All that is allocated is written before it is read.
    filling.fill_uninitialized_memory = False
    try:
        with cudnn(deterministic=True), products("ieee"):
            yield
    finally:
        filling.fill_uninitialized_memory = filled
        torch.use_deterministic_algorithms(before, warn_only=only_warned)


def keep_threads(progress: Progress, device: torch.device) -> None:
    """Compute with as many threads as the training began with; when it begins, with as many as
    torch has. `progress` remembers them. On a GPU nothing depends on them."""
    if device.type != "cpu":
        return
    here = torch.get_num_threads()
    wanted = progress.threads or here
    if wanted != here:
        logger.warning(
            "this training goes on with the %d threads that it began with, which its last bits "
            "depend on; others begin with %d here",
            wanted,
            here,
        )
    torch.set_num_threads(wanted)  # also where it is the same: MKL otherwise may take fewer
    progress.threads = wanted


@contextmanager
def threads_put_back() -> Iterator[None]:
    """At the end torch has as many threads as before."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _packages() -> dict[str, str | None]:
    """Versions of the library and what it computes with, of the service, and of plugins."""
    found = {name: _version(name) for name in PACKAGES}
    if (service := _version(SERVICE)) is not None:
        found[SERVICE] = service
    return found | {each.distribution: each.version for each in plugins() if each.adds}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
