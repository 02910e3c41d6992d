"""Random changes to training samples, in the order in which the published code makes them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator, Tensor

from saf.config.augmentations import AUGMENTATIONS, Augmentation


def augment(x: Tensor, changes: Sequence[str | Augmentation], generator: Generator) -> Tensor:
    """`x` (`N C H W` in [0, 1], or `N T C H W`) with `changes` applied: those of the library are
    resized_crop, crop, cutout, flip.

    That is the order of the code published with OTTT (`train_cifar.py` and `train_imagenet.py` of
    github.com/pkuxmq/OTTT-SNN); the order in which they are named does not matter. It takes crop,
    cutout and flip for CIFAR, resized_crop and flip for ImageNet, and crop for CIFAR10-DVS. Raises
    ValueError for a change that does not exist.
    """
    unknown = sorted(
        name for name in changes if isinstance(name, str) and name not in AUGMENTATIONS
    )
    if unknown:
        raise ValueError(f"there is no change {unknown}; there are {list(AUGMENTATIONS.names())}")
    chosen = [AUGMENTATIONS[each]() if isinstance(each, str) else each for each in changes]
    for change in sorted(chosen, key=lambda each: (each.order, each.name)):
        x = change.changed(x, generator)
    return x
