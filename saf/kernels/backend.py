"""Back end of a training: its scan, its convolutions, native code and the precision of products.
It is chosen once, before the first iteration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from saf.kernels import native, winograd
from saf.kernels.precision import products
from saf.kernels.saf_scan import Scan, by, scan


@dataclass(frozen=True, kw_only=True)
class Backend:
    """What replaces torch's operations; the defaults suit every device."""

    scan: Scan = scan
    """What computes the spikes of K time steps."""
    convolution: Literal["torch", "winograd"] = "winograd"
    """`winograd`: 3 × 3 convolutions on a CPU by `saf.kernels.winograd`, where it is faster."""
    native: bool = False
    """Whether C++ is used where there is some."""
    products: Literal["ieee", "tf32"] = "ieee"
    """What float32 products on a GPU are rounded to."""

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Context manager: networks of this thread compute with this back end."""
        with (
            winograd.allowed(self.convolution == "winograd"),
            native.allowed(self.native),
            by(self.scan),
            products(self.products),
        ):
            yield
