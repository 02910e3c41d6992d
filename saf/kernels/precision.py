"""The numbers that a training computes with, and what float32 products may be rounded to on a GPU.

TF32 has the exponents of float32 and 11 significant bits. A tensor core rounds the factors of a
product to it and adds up in float32; tensors stay float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from saf.config import Precision
from saf.kernels.processor import capabilities

TF32_CAPABILITY = (8, 0)  # Ampere


def parameter_dtype(precision: Precision) -> torch.dtype:
    """The type of parameters, samples, scores and the loss."""
    return torch.float64 if precision == "float64" else torch.float32


def compute_dtype(precision: Precision) -> torch.dtype | None:
    """The type of the arithmetic where it is another than that of the parameters."""
    return torch.bfloat16 if precision == "bfloat16" else None


def on_device(precision: Precision, device: torch.device) -> Precision:
    """What `precision` comes to on `device`: TF32 is float32 on CPUs and on GPUs before Ampere."""
    if precision != "tf32":
        return precision
    able = device.type == "cuda" and torch.cuda.get_device_capability(device) >= TF32_CAPABILITY
    return "tf32" if able else "float32"


@contextmanager
def products(of: Literal["ieee", "tf32"]) -> Iterator[None]:
    """Take float32 matrix products and convolutions on a GPU in float32 (`ieee`) or in TF32.

    A setting of the process. It is made by torch's `fp32_precision` alone: torch refuses to tell
    `allow_tf32`, which `torch.backends.cudnn.flags` asks for, once both have been in use. Torch
    before 2.9 has `allow_tf32` alone.
    """
    homes: tuple[Any, Any]
    value: str | bool
    of_cudnn: Any = torch.backends.cudnn
    if hasattr(of_cudnn, "conv"):
        homes, name, value = (torch.backends.cuda.matmul, of_cudnn.conv), "fp32_precision", of
    else:
        homes, name, value = (torch.backends.cuda.matmul, of_cudnn), "allow_tf32", of == "tf32"
    before = [getattr(home, name) for home in homes]
    try:
        for home in homes:
            setattr(home, name, value)
        yield
    finally:
        for home, old in zip(homes, before, strict=True):
            setattr(home, name, old)


def products_of(precision: Precision) -> Literal["ieee", "tf32"]:
    """The argument of `products` for a training in `precision`."""
    return "tf32" if precision == "tf32" else "ieee"


@contextmanager
def cudnn(*, enabled: bool = True, deterministic: bool = False) -> Iterator[None]:
    """cuDNN used or not, with deterministic algorithms alone or any; never chosen by timing."""
    of = torch.backends.cudnn
    before = of.enabled, of.deterministic, of.benchmark
    of.enabled, of.deterministic, of.benchmark = enabled, deterministic, False
    try:
        yield
    finally:
        of.enabled, of.deterministic, of.benchmark = before


@contextmanager
def sums_of_products() -> Iterator[None]:
    """Convolutions on a GPU by torch itself, which adds up products in float32; cuDNN may choose
    algorithms that do not."""
    with cudnn(enabled=False), products("ieee"):
        yield


def products_in(x: Tensor) -> torch.dtype:
    """The type in which maps of `x` are computed: its own, but float32 for bfloat16 on a CPU
    without instructions for it, where torch would take about eight times as long. Products of two
    numbers in bfloat16 are exact in float32; results are rounded once."""
    if x.dtype is torch.bfloat16 and x.device.type == "cpu" and not _multiplies_bfloat16():
        return torch.float32
    return x.dtype


@cache
def _multiplies_bfloat16() -> bool:
    """Whether this CPU does. Others than x86 are trusted to."""
    found = capabilities()
    return found.get("architecture") != "x86_64" or any(
        found.get(name) for name in ("avx512_bf16", "amx_bf16")
    )
