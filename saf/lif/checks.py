"""Checks of what a LIF network is given: its weights and its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from saf.lif.grid.fixed_point import is_on_grid
from saf.lif.header import LIFDescription
from saf.model.inputs import with_pixels
from saf.model.lengths import Lengths

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def check_description(description: LIFDescription, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError where `tensors` are not those that `description` asks for, or where it
    contradicts itself."""
    expected, architecture = description.tensor_shapes(), description.architecture
    if expected.keys() != tensors.keys():
        odd = sorted(expected.keys() ^ tensors.keys())
        raise ValueError(
            f"the weights are not those of the architecture: {odd[:5]!a} ({len(odd)} in all)"
        )
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != expected[name]:
            raise ValueError(
                f"{name} has the shape {tuple(tensor.shape)} instead of {expected[name]}"
            )
    channels, encoded = len(description.mean), architecture.input_shape[0]
    fits = description.encoding_of_input().channels(channels) == encoded
    if len(description.std) != channels or not fits:
        raise ValueError(f"mean and std are needed for each of {channels} channels")
    if len(description.class_names) != architecture.classes:
        raise ValueError(
            f"there are {len(description.class_names)} names for {architecture.classes} classes"
        )


def check_weights(description: LIFDescription, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError for weights that no LIF network has, such as NaN; on the device `meta`
    there are no numbers."""
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise ValueError(f"{name} is {tensor.dtype}; weights are one of {_named(DTYPES)}")
        if not tensor.is_meta and not tensor.isfinite().all():
            raise ValueError(f"{name} holds values that are no finite numbers")
    if len({tensor.dtype for tensor in tensors.values()}) > 1:
        raise ValueError("the weights are of several data types")
    if description.grid is None:
        return
    for name, tensor in tensors.items():
        if not tensor.is_meta and not is_on_grid(tensor, description.grid.bits):
            raise ValueError(
                f"{name} is not on the grid of 2^-{description.grid.bits} that the "
                "network is said to be on"
            )


def _named(dtypes: Sequence[torch.dtype]) -> str:
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)


def check_input(description: LIFDescription, x: Tensor, *, sequence: bool) -> Tensor:
    """Return `x` with all axes: series `N T C`, and a step of them `N C`, get those of one pixel,
    and images that are read as sequences become these.

    Raise ValueError, which says what is expected, unless `x` is an input of such a network: of all
    T time steps (`sequence`), or of one."""
    shape, image = description.sample_shape, description.image
    if isinstance(x, Tensor) and sequence and image is not None:
        x = image.sequence(x)
    if isinstance(x, Tensor):
        x = with_pixels(x, shape, len(shape) + (2 if sequence else 1))
    if sequence:
        shape = (description.timesteps, *shape)
    expected = f"N {' '.join(map(str, shape))}"
    if sequence:
        expected += f" (frames of T = {description.timesteps} steps)"
    if shape[-2:] == (1, 1):
        expected += f" or, without the last two axes, N {' '.join(map(str, shape[:-2]))}"
    if image is not None and sequence:
        expected += f", or images N {' '.join(map(str, image.shape))}"
    if not isinstance(x, Tensor) or not x.is_floating_point():
        what = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(
            f"the network takes a tensor of floats of shape {expected}, not {what}; "
            "bytes become floats by x.float() / 255, counts in bytes by x.float()"
        )
    if x.dim() != len(shape) + 1 or tuple(x.shape[1:]) != shape or len(x) == 0:
        raise ValueError(f"the network takes samples of shape {expected}, not {list(x.shape)}")
    if not x.isfinite().all():
        raise ValueError("the input holds NaN or infinite values")
    bounded = not description.frames or image is not None or description.grid is not None
    if bounded and (x.min() < 0 or x.max() > 1):
        raise ValueError(
            f"the network takes values from 0 to 1, and these go from {float(x.min()):g} to "
            f"{float(x.max()):g}; it does its normalisation itself"
        )
    return x


def check_lengths(description: LIFDescription, lengths: Tensor, samples: int) -> Lengths:
    """Return how many time steps of each of so many samples are their own. Raise ValueError, which
    says what is expected, for anything but N whole numbers from 1 to T, and for images."""
    if not description.frames or description.image is not None:
        raise ValueError("the network takes images, which have no lengths")
    wanted = f"{samples} whole numbers from 1 to {description.timesteps}, one for each sample"
    own = torch.as_tensor(lengths).cpu()
    if own.shape != (samples,) or own.is_floating_point() or own.is_complex():
        raise ValueError(f"lengths are {wanted}, not {own.dtype} of shape {list(own.shape)}")
    if own.min() < 1 or own.max() > description.timesteps:
        raise ValueError(
            f"lengths are {wanted}; these go from {int(own.min())} to {int(own.max())}"
        )
    return Lengths(own.long())
