"""Number types of a training, and the rounding of float32 products on a GPU.

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
    """Type of parameters, samples, scores and the loss."""
    return torch.float64 if precision == "float64" else torch.float32


def compute_dtype(precision: Precision) -> torch.dtype | None:
    """Type of the arithmetic; None where it is that of the parameters."""
    return torch.bfloat16 if precision == "bfloat16" else None


def on_device(precision: Precision, device: torch.device) -> Precision:
    """The effective `precision` on `device`: TF32 is float32 on CPUs and on GPUs before Ampere."""
    if precision != "tf32":
        return precision
    able = device.type == "cuda" and torch.cuda.get_device_capability(device) >= TF32_CAPABILITY
    return "tf32" if able else "float32"


@contextmanager
def products(of: Literal["ieee", "tf32"]) -> Iterator[None]:
    """Compute float32 matrix products and convolutions on a GPU in float32 (`ieee`) or in TF32.

    This is a setting of the process. It uses torch's `fp32_precision` alone, since torch refuses to
    read `allow_tf32` (as `torch.backends.cudnn.flags` does) once both have been used. Torch before
    2.9 has only `allow_tf32`.
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
    """Argument of `products` for a training in `precision`."""
    return "tf32" if precision == "tf32" else "ieee"


@contextmanager
def cudnn(*, enabled: bool = True, deterministic: bool = False) -> Iterator[None]:
    """Enable or disable cuDNN, with deterministic algorithms only or with any; never chosen by
    timing."""
    of = torch.backends.cudnn
    before = of.enabled, of.deterministic, of.benchmark
    of.enabled, of.deterministic, of.benchmark = enabled, deterministic, False
    try:
        yield
    finally:
        of.enabled, of.deterministic, of.benchmark = before


@contextmanager
def sums_of_products() -> Iterator[None]:
    """Context manager: torch itself computes convolutions on a GPU and adds products up in
    float32; cuDNN may choose algorithms that do not."""
    with cudnn(enabled=False), products("ieee"):
        yield


def products_in(x: Tensor) -> torch.dtype:
    """Type in which maps of `x` are computed: that of `x`, but float32 for bfloat16 on a CPU
    without bfloat16 instructions, where torch would take about eight times as long. Products of
    two bfloat16 numbers are exact in float32; results are rounded once."""
    if x.dtype is torch.bfloat16 and x.device.type == "cpu" and not _multiplies_bfloat16():
        return torch.float32
    return x.dtype


@cache
def _multiplies_bfloat16() -> bool:
    """Whether this CPU has bfloat16 instructions; assumed of others than x86."""
    found = capabilities()
    return found.get("architecture") != "x86_64" or any(
        found.get(name) for name in ("avx512_bf16", "amx_bf16")
    )
