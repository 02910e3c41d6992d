"""Learned delays: weights spread over the taps of a narrow kernel, whose centres are learned.

A weight at one tap is linear in the delayed spikes, so SAF and LIF neurons stay equivalent, and the
converted network has these weights, exactly, at connections with fixed delays.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saf.networks.architecture import LearnedDelay


def spread(weight: Tensor, centre: Tensor, delay: LearnedDelay) -> tuple[Tensor, ...]:
    """The weights w_d = w exp(−(d − c)² / 2σ²) / Σ at each tap d = 0 … span, of the shape of
    `weight` w; `centre`, of that shape, is c / span. Gradients reach both. Source: DCLS with
    Gaussian kernels, arXiv 2306.17670, with the normalisation as a softmax."""
    taps = torch.arange(delay.span + 1, dtype=centre.dtype, device=centre.device)
    away = taps.view(-1, *(1,) * centre.dim()) - delay.span * centre
    kernel = (-0.5 * (away / delay.width) ** 2).softmax(0)
    return (weight * kernel).unbind(0)
