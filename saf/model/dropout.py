"""Neuron dropout with one mask for a whole sequence, so that SAF and LIF neurons stay equivalent.

Shapes: `B` samples, `…` the shape of a layer.
"""

from __future__ import annotations

import torch
from torch import Generator

from saf.model.forward.presentation import NO_DROPOUT, Layered, Masks


def dropout_masks(network: Layered, samples: int, generator: Generator | None) -> Masks:
    """Draw dropout masks, B … by layer: 0 for the share `dropout` of the neurons of `network`, and
    1 / (1 − dropout) for the others; empty where `dropout` is 0.

    A mask is drawn for every sample and neuron and kept for all time steps, as in `OnlineLIFNode`
    of github.com/pkuxmq/OTTT-SNN: the spikes of a neuron are scaled where other layers and the
    trace read them, but not in its own reset. `generator` is on the device of the network (None:
    torch's global one).
    """
    share = network.neuron.dropout
    if not share:
        return NO_DROPOUT
    shapes = network.architecture.shapes()
    masks = {}
    for layer in network.architecture.spiking:
        shape = (samples, *shapes[layer.name])
        layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
        mask = torch.empty(shape, dtype=network.dtype, device=network.device, memory_format=layout)
        masks[layer.name] = mask.bernoulli_(1.0 - share, generator=generator) / (1.0 - share)
    return masks
