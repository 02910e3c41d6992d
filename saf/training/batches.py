"""Samples on a device, and which of them each iteration sees.

Everything random is a function of the seed of the job and of a number (the epoch, the
iteration), never of a generator's state: a training goes on at any iteration as if it had not
been interrupted.

Shapes: `N` samples, `T` steps, `C H W` channels, height, width.
"""

from __future__ import annotations

import hashlib
from copy import copy
from math import ceil

import numpy as np
import torch
from torch import Generator, Tensor

from saf.data.mapped import MappedRows, waits
from saf.data.statistics import frames_of
from saf.kernels.transfer import sent, shared
from saf.model.inputs import floats
from saf.model.lengths import Lengths

DEVICE_SHARE = 0.5  # of the free memory of a GPU that the samples may take


class Batches:
    """Division of every epoch into batches of nearly equal size.

    `samples` are shuffled and cut into `ceil(samples / batch_size)` batches whose sizes differ by
    one at most: every sample is used once per epoch, no batch is larger than asked for, and none
    is so small that its gradient is mostly noise.
    """

    def __init__(self, samples: int, batch_size: int, seed: int) -> None:
        self.per_epoch = ceil(samples / batch_size)
        self._samples, self._seed = samples, seed
        self._orders: dict[int, Tensor] = {}

    def __getitem__(self, step: int) -> Tensor:
        """Indices of the samples that iteration `step` (from 0) sees."""
        epoch, position = divmod(step, self.per_epoch)
        if epoch not in self._orders:
            generator = generator_of(self._seed, "order", epoch)
            # Whoever reads ahead asks for the next epoch before this one is over.
            self._orders = {e: o for e, o in self._orders.items() if abs(e - epoch) == 1}
            self._orders[epoch] = torch.randperm(self._samples, generator=generator)
        return self._orders[epoch].tensor_split(self.per_epoch)[position]


class Samples:
    """A part of a data set: on the device as it is stored where it fits, else in main memory."""

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        device: torch.device,
        dtype: torch.dtype,
        unit: int = 255,
        lengths: np.ndarray | None = None,
    ) -> None:
        """`x` is `N C H W`, `N T C H W` or `N T C`, which becomes `N T C 1 1`; bytes, which mean
        value / `unit`, or floats. `y` are the classes, `N`. What is mapped into memory stays
        mapped. `lengths`, `N`, are the time steps that are a sample's own; None: all of them."""
        x = frames_of(x)
        self.device, self.dtype, self.unit = device, dtype, unit
        home = device
        if device.type == "cuda" and x.nbytes > DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
            home = torch.device("cpu")
        self.x = _tensor(x).to(home)
        self.y = _tensor(y).to(home, torch.int64)
        self.labels = torch.from_numpy(np.array(y, np.int64))
        """`y` on the CPU."""
        self.lengths = None if lengths is None else torch.from_numpy(np.array(lengths, np.int64))
        """Those of the samples, on the CPU."""
        self._rows: Tensor | None = None
        self._mapped = MappedRows.of(x) if home.type == "cpu" else None
        self.waited = False
        """Whether samples that were asked for had to come from the disk."""

    def subset(self, rows: Tensor) -> Samples:
        """The samples at `rows`, which share the memory of these."""
        part = copy(self)
        part._rows = sent(rows if self._rows is None else self._rows[rows], self.x.device)
        part.labels = self.labels[rows]
        part.lengths = None if self.lengths is None else self.lengths[rows]
        return part

    def __len__(self) -> int:
        return len(self.labels)

    def raw(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """`x` as it is stored and `y` of the samples at `indices`, where they lie."""
        indices = sent(indices, self.x.device)
        rows = indices if self._rows is None else self._rows[indices]
        before = waits()
        x = self.x[rows]
        self.waited |= self._mapped is not None and waits() > before
        return x, self.y[rows]

    def announce(self, indices: Tensor) -> None:
        """Samples that are asked for soon; where they lie in a mapped file the kernel reads them
        meanwhile."""
        if self._mapped is not None:
            rows = indices if self._rows is None else self._rows[indices]
            self._mapped.announce(rows.numpy())

    def lengths_of(self, indices: Tensor) -> Lengths | None:
        """How many time steps are their own of the samples at `indices`; None: all of them."""
        return None if self.lengths is None else Lengths(self.lengths[indices])

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """`x` as floats (bytes divided by their unit) and `y` of the samples at `indices`."""
        x, y = self.raw(indices)
        return floats(sent(x, self.device), self.dtype, self.unit), sent(y, self.device)


def generator_of(
    seed: int, purpose: str, number: int, device: torch.device | str = "cpu"
) -> Generator:
    """A generator on `device` that depends on the other arguments alone; for `meta`, where there
    are shapes and no numbers, it is one on the CPU."""
    device = "cpu" if torch.device(device).type == "meta" else device
    digest = hashlib.blake2b(f"{seed}/{purpose}/{number}".encode(), digest_size=8).digest()
    return Generator(device).manual_seed(int.from_bytes(digest) >> 1)


def identity(x: np.ndarray, y: np.ndarray, lengths: np.ndarray | None = None) -> str:
    """SHA-256 of training samples and labels, and of lengths where there are some, with their
    shapes and types: by it checkpoints and certificates name a data set."""
    digest = hashlib.sha256()
    for array in (x, y) if lengths is None else (x, y, lengths):
        digest.update(f"{array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _tensor(array: np.ndarray) -> Tensor:
    # Of an axis with one entry numpy leaves any stride, and torch would choose its kernels by it:
    # equal data would not give equal bits.
    return shared(array.reshape(-1)).view(array.shape)
