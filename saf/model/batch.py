"""The input and the output of a training method.

A rule leaves gradients in `.grad` and calls `batch.update()` whenever an optimizer step is due:
once per batch, for ottt-o after every time step. The caller zeroes the gradients before the call
and inside `update`.

The gradients are derived in docs and papers: SAF, arXiv 2310.02772; OTTT, arXiv 2210.04195; DSR,
arXiv 2205.00459. Shapes: `T` time steps, `B` samples, `C H W` channels, height, width, `K` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from saf.model.lengths import Lengths
from saf.model.network import SpikingNetwork
from saf.model.outcome import Outcome


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples with their labels, and how to learn from them."""

    x: Tensor
    """Images B C H W, or event frames B T C H W, in [0, 1]; the network normalises them."""
    y: Tensor
    """What `loss` compares scores with."""
    timesteps: int
    """T."""
    loss: Callable[..., Tensor]
    """The mean loss of scores, B K, and `y`; with a third argument, B, that of the samples times
    these weights."""
    update: Callable[[], None]
    """An optimizer step on the gradients so far."""
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    """Dropout masks of `saf.model.dropout`, by layer."""
    chunk: int | None = None
    """Time steps that SAF computes at once (None: as many as suit the batch, see
    `saf.model.forward.saf_forward.chunks`). It changes memory and speed, and results only by
    rounding."""
    lengths: Lengths | None = None
    """How many time steps are a sample's own, where they are padded; None: all of them."""

    def loss_at(self, times: Sequence[int], scores: Tensor) -> Tensor:
        """The share of some time steps in a loss that is a mean over all of them: of `scores`, K B
        classes, at these `times`, from 1. Of padded samples the mean is over their own steps."""
        if self.lengths is None:
            each = [self.loss(of_step, self.y) for of_step in scores]
            return torch.stack(each).sum() / self.timesteps
        each = [
            self.loss(of_step, self.y, self.lengths.shares(t, of_step))
            for t, of_step in zip(times, scores, strict=True)
        ]
        return torch.stack(each).sum()


class Rule(Protocol):
    """Function that learns from one batch; a method's `rule` returns it."""

    def __call__(self, network: SpikingNetwork, batch: Batch, /) -> Outcome: ...
