"""Instruction sets of the CPU, under the names of `torch.cpu.get_capabilities`."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

# Linux's names of what is asked for here, and torch's.
_FLAGS = {
    "abm": "lzcnt",
    "amx_bf16": "amx_bf16",
    "avx2": "avx2",
    "avx512_bf16": "avx512_bf16",
    "avx512bw": "avx512_bw",
    "avx512cd": "avx512_cd",
    "avx512dq": "avx512_dq",
    "avx512f": "avx512_f",
    "avx512vl": "avx512_vl",
    "bmi1": "bmi",
    "bmi2": "bmi2",
    "f16c": "f16c",
    "fma": "fma3",
}


def capabilities() -> Mapping[str, Any]:
    """`architecture`, and `True` for each instruction set of this CPU. Where torch is too old to
    tell, Linux is asked; elsewhere only the architecture is known."""
    of_torch: Any = torch.cpu
    if hasattr(of_torch, "get_capabilities"):
        found: Mapping[str, Any] = of_torch.get_capabilities()
        return found
    return told_by_linux(Path("/proc/cpuinfo"))


def told_by_linux(cpuinfo: Path) -> Mapping[str, Any]:
    """The same, read from /proc/cpuinfo; only the architecture without that file."""
    machine = platform.machine().lower()
    architecture = "x86_64" if machine in ("x86_64", "amd64") else machine
    try:
        line = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        line = None
    flags = line[1].split() if line else []
    return {"architecture": architecture} | {_FLAGS[f]: True for f in flags if f in _FLAGS}
