"""Random changes to training samples, a whole batch at a time on its device.

The random numbers are drawn on the CPU from one generator, so that the same batch is changed in
the same way on every device and after every resumption. All time steps of a sample are changed
alike.

Shapes: `N` samples, `T` steps, `C H W` channels, height, width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Generator, Tensor

from saf.kernels.transfer import sent

CUTOUT_PROBABILITY = 0.5
CUTOUT_AREA = (0.02, 0.4)  # of the image
CUTOUT_RATIO = (0.4, 2.5)  # height to width
RESIZED_AREA = (0.08, 1.0)  # of the image
RESIZED_RATIO = (3 / 4, 4 / 3)  # width to height
RESIZED_TRIES = 10


def augment(x: Tensor, changes: Sequence[str], generator: Generator) -> Tensor:
    """`x` (`N C H W` in [0, 1], or `N T C H W`) with `changes` applied: resized_crop, crop, cutout,
    flip.

    That is the order of the code published with OTTT (`train_cifar.py` and `train_imagenet.py` of
    github.com/pkuxmq/OTTT-SNN); the order in which they are named does not matter. It takes crop,
    cutout and flip for CIFAR, resized_crop and flip for ImageNet, and crop for CIFAR10-DVS. Raises
    ValueError for a change that does not exist.
    """
    unknown = set(changes) - set(CHANGES)
    if unknown:
        raise ValueError(f"there is no change {sorted(unknown)}; there are {list(CHANGES)}")
    for name, change in CHANGES.items():
        if name in changes:
            x = change(x, generator)
    return x


def resized_crop(x: Tensor, generator: Generator) -> Tensor:
    """Cut a box of 8 % to 100 % of the area, its sides in a ratio of 3:4 to 4:3, out of each sample
    and scale it bilinearly to the size of the whole.

    As `RandomResizedCrop` of torchvision, which the published code uses for ImageNet: ten boxes are
    tried, and where none fits, the sample stays as it is.
    """
    samples, *_, height, width = x.shape
    tries = (samples, RESIZED_TRIES)
    low, high = RESIZED_AREA
    area = (low + (high - low) * torch.rand(tries, generator=generator)) * height * width
    low, high = log(RESIZED_RATIO[0]), log(RESIZED_RATIO[1])
    ratio = (low + (high - low) * torch.rand(tries, generator=generator)).exp()
    w, h = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (w >= 1) & (w <= width) & (h >= 1) & (h <= height)
    first, none = fits.int().argmax(1, keepdim=True), ~fits.any(1)
    h = torch.where(none, height, h.gather(1, first)[:, 0])
    w = torch.where(none, width, w.gather(1, first)[:, 0])
    top = (torch.rand(samples, generator=generator) * (height - h + 1)).floor()
    left = (torch.rand(samples, generator=generator) * (width - w + 1)).floor()
    return _stretched(_stretched(x, top, h, -2), left, w, -1)


def _stretched(x: Tensor, start: Tensor, length: Tensor, dim: int) -> Tensor:
    """`x` along `dim`, with the part from `start` (N) of `length` (N) stretched over all of it."""
    count = x.shape[dim]
    start, length = start[:, None], length[:, None]
    place = (torch.arange(count) + 0.5) * length / count - 0.5  # N count, in the part
    place = torch.minimum(place.clamp(min=0), length - 1)
    below = place.floor()
    above = torch.minimum(below + 1, length - 1)
    inner = (1,) * (x.dim() - 3)
    sides = (count, 1) if dim == -2 else (1, count)
    share = sent(place - below, x.device).to(x.dtype).view(-1, *inner, *sides)
    return torch.lerp(_taken(x, start + below, dim), _taken(x, start + above, dim), share)


def _taken(x: Tensor, places: Tensor, dim: int) -> Tensor:
    """`x` at `places` (N count) along `dim`, the same ones in all steps and channels."""
    inner = (1,) * (x.dim() - 3)
    sides = (places.shape[1], 1) if dim == -2 else (1, places.shape[1])
    index = sent(places.long(), x.device).view(-1, *inner, *sides)
    shape = list(x.shape)
    shape[dim] = places.shape[1]
    return x.gather(dim, index.expand(shape))


def crop(x: Tensor, generator: Generator) -> Tensor:
    """Shift each sample by up to an eighth of its height and of its width, zeros moving in.

    At 32 × 32 pixels this is the random crop with a padding of 4. A side of fewer than 8 pixels is
    not shifted along, for one pixel would be a large part of it. A sample of which the shift would
    leave nothing but one value stays as it is.
    """
    *_, height, width = x.shape
    margin_h, margin_w = height // 8, width // 8
    top = torch.randint(0, 2 * margin_h + 1, (len(x), 1), generator=generator)
    left = torch.randint(0, 2 * margin_w + 1, (len(x), 1), generator=generator)
    padded = F.pad(x, (margin_w, margin_w, margin_h, margin_h))
    padded = _taken(padded, top + torch.arange(height), -2)
    shifted = _taken(padded, left + torch.arange(width), -1)
    lost = _shows_something(x) & ~_shows_something(shifted)
    return torch.where(lost.view(-1, *(1,) * (x.dim() - 1)), x, shifted)


def _shows_something(x: Tensor) -> Tensor:
    """Whether the pixels of a sample differ, in any channel of any step: N."""
    low, high = torch.aminmax(x.flatten(-2), dim=-1)
    return (low != high).flatten(1).any(1)


def cutout(x: Tensor, generator: Generator) -> Tensor:
    """Blank a rectangle in half of the samples: 2 % to 40 % of the area, of one random value.

    Follows `Cutout` of github.com/PistonY/torch-toolbox, which the code published with OTTT uses
    for CIFAR. There the value, one byte, is pasted into an image of Pillow, which takes an integer
    for a packed colour: it goes to the first channel, and the others become 0. Event frames are
    blanked with zeros, for no event is what a covered sensor sends.
    """
    samples, *_, channels, height, width = x.shape

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(samples, generator=generator)

    chosen = uniform(0, 1) < CUTOUT_PROBABILITY
    area, ratio = uniform(*CUTOUT_AREA) * height * width, uniform(*CUTOUT_RATIO)
    h, w = (
        (area * ratio).sqrt().clamp(max=height).floor(),
        (area / ratio).sqrt().clamp(max=width).floor(),
    )
    top = (uniform(0, 1) * (height - h + 1)).floor()
    left = (uniform(0, 1) * (width - w + 1)).floor()
    value = (uniform(0, 1) * 256).floor() / 255

    row, column = torch.arange(height), torch.arange(width)
    rows = (row >= top[:, None]) & (row < (top + h)[:, None])  # N H
    columns = (column >= left[:, None]) & (column < (left + w)[:, None])  # N W
    covered = rows[:, :, None] & columns[:, None, :] & chosen[:, None, None]  # N H W
    inner = (1,) * (x.dim() - 3)
    covered = sent(covered, x.device).view(samples, *inner, height, width)
    colour = torch.zeros(samples, channels)
    if x.dim() == 4:
        colour[:, 0] = value
    colour = sent(colour, x.device).to(x.dtype)
    return torch.where(covered, colour.view(samples, *inner[1:], channels, 1, 1), x)


def flip(x: Tensor, generator: Generator) -> Tensor:
    """Mirror each sample left to right with probability one half."""
    mirrored = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(sent(mirrored, x.device).view(-1, *(1,) * (x.dim() - 1)), x.flip(-1), x)


CHANGES: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "resized_crop": resized_crop,
    "crop": crop,
    "cutout": cutout,
    "flip": flip,
}
