"""What is odd about a data set that can be trained on, and what makes training on it pointless.

Every sample is hashed once, so that equal ones are found whatever their size. Shapes: N samples,
C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saf.data import blocks
from saf.data.chance import margin
from saf.data.statistics import (
    LEAST_DEVIATION,
    Statistics,
    channel_statistics,
    extremes,
    frames_of,
    told,
)
from saf.errors import DataError

if TYPE_CHECKING:
    from saf.data.dataset import Dataset

FEW_TRAINING_SAMPLES = 5  # of a class; fewer are a finding
FEW_TEST_SAMPLES = 100
UNEVEN = 5.0  # largest class over smallest one; more is a finding
OTHER_SCALE = 10.0  # times as wide, or as far away as so many deviations; more is a finding
SAMPLES_OF_A_SCALE = 1000
FEW_OF_A_SPLIT = 5  # of fewer samples one that is unlike the others says nothing
EXAMPLES = 3  # equal samples that a message names
NAMED = 5  # classes or channels that a message names; further ones are counted
_HASH_BYTES = 16


class Finding(NamedTuple):
    """Something about a data set that its owner should know, and what to do about it."""

    code: str
    """For programs: `test_in_training`, `few_samples`, …"""
    message: str
    hint: str


def findings(dataset: Dataset) -> list[Finding]:
    """What is odd about the data set, the gravest first; [] when nothing is.

    The codes: `one_class`, `equal_samples` (nothing can be learnt: see `refuse`),
    `test_in_training`, `validation_in_training`, `validation_in_test` (equal samples in two
    splits), `contradicting_labels` (equal training samples with different labels), `empty_class`,
    `few_samples`, `uneven_classes`, `constant_channel`, `extreme_values` (a few samples, time steps
    or pixels with nearly all of the variance of a channel), `other_scale` (test or validation
    samples whose values are not where those of training are), and `not_compared` where memory did
    not suffice to look for equal samples. Memory: 16 bytes for each sample, sorted, and a chunk of
    samples.
    """
    try:
        equal = [*_equal_samples(dataset)]
    except MemoryError:
        equal = [
            Finding(
                "not_compared",
                "memory did not suffice to look for equal samples in different splits",
                "Check yourself that no test sample is among the training samples.",
            )
        ]
    return [
        *_unlearnable(dataset),
        *equal,
        *_other_scale(dataset),
        *_empty_classes(dataset),
        *_few(dataset),
        *_uneven(dataset),
        *_flat(dataset),
        *_extreme(dataset),
    ]


def refuse(dataset: Dataset) -> None:
    """Raise DataError where no training can learn anything: one class, or equal samples alone."""
    for finding in _unlearnable(dataset):
        raise DataError(finding.message, hint=finding.hint)


def _unlearnable(dataset: Dataset) -> Iterator[Finding]:
    first = int(dataset.y_train[0])
    if (dataset.y_train == first).all():
        yield Finding(
            "one_class",
            f"all {len(dataset.y_train)} training samples are of the class "
            f"{dataset.class_names[first]!r}; a classifier needs samples of two",
            "Add training samples of the other classes.",
        )
    bytes_of_first = _as_bytes(dataset.x_train[:1])
    if all((chunk == bytes_of_first).all() for chunk in _chunks(dataset.x_train)):
        yield Finding(
            "equal_samples",
            f"all {len(dataset.y_train)} training samples are equal: there is nothing to learn",
            "Check how the samples were written: constant images are often an error in scaling or "
            "in reading the files.",
        )


def _equal_samples(dataset: Dataset) -> Iterator[Finding]:
    names = dataset.splits
    ids = dict(zip(names, _ids([getattr(dataset, f"x_{name}") for name in names]), strict=True))
    yield from _leak(ids["test"], ids["train"], "test_in_training", "test", "training")
    if "val" in ids:
        yield from _leak(
            ids["val"], ids["train"], "validation_in_training", "validation", "training"
        )
        yield from _leak(ids["val"], ids["test"], "validation_in_test", "validation", "test")
    yield from _contradictions(ids["train"], dataset.y_train)


def _leak(
    looked_at: NDArray[np.int64], others: NDArray[np.int64], code: str, split: str, other: str
) -> Iterator[Finding]:
    equal = np.flatnonzero(np.isin(looked_at, others))
    count, total = len(equal), len(looked_at)
    if not count:
        return
    pairs = [
        f"{split} sample {index} is {other} sample {int((others == looked_at[index]).argmax())}"
        for index in equal[:EXAMPLES].tolist()
    ]
    told = {
        "test_in_training": "the accuracy",
        "validation_in_training": "what is chosen by the validation samples",
        "validation_in_test": "after a choice by the validation samples the test accuracy",
    }[code]
    if count == total:
        which = f"all {total} of {total} {split} samples are"
        means = f"{told} says nothing about new data"
    else:
        which = f"{count} of {total} {split} samples {'is' if count == 1 else 'are'}"
        means = f"{told} looks better than it is on new data"
    noun = f"a {other} sample" if count == 1 else f"{other} samples"
    yield Finding(
        code,
        f"{which} also {noun}, byte for byte: {means} ({', '.join(pairs)}"
        f"{', …' if count > EXAMPLES else ''}; counted from 0)",
        "Keep each sample in one split only.",
    )


def _contradictions(ids: NDArray[np.int64], labels: NDArray[np.int64]) -> Iterator[Finding]:
    count = int(ids.max()) + 1
    lowest, highest = np.full(count, np.iinfo(np.int64).max), np.full(count, -1, np.int64)
    np.minimum.at(lowest, ids, labels)
    np.maximum.at(highest, ids, labels)
    torn = int((lowest != highest)[ids].sum())
    if torn:
        yield Finding(
            "contradicting_labels",
            f"{torn} of {len(ids)} training samples equal a training sample with another label: "
            "no network can name all of them right",
            "Correct the labels, or leave those samples out.",
        )


def untrained_classes(dataset: Dataset) -> Iterator[Finding]:
    """The finding of classes without a training sample, where there are some."""
    yield from _empty(dataset, "train", "training", "what is of them can never be named right")


def _empty_classes(dataset: Dataset) -> Iterator[Finding]:
    yield from untrained_classes(dataset)
    yield from _empty(dataset, "test", "test", "how well what is of them is named is not measured")


def _empty(dataset: Dataset, split: str, what: str, means: str) -> Iterator[Finding]:
    empty = np.flatnonzero(_class_counts(dataset, split) == 0)
    if len(empty):
        yield Finding(
            "empty_class",
            f"{_share_of_classes(empty, dataset)} no {what} sample "
            f"({_named(empty, dataset.class_names)}): {means}",
            f"Add {what} samples of these classes, or leave the classes out.",
        )


def _few(dataset: Dataset) -> Iterator[Finding]:
    counts = _class_counts(dataset, "train")
    few = np.flatnonzero((counts > 0) & (counts < FEW_TRAINING_SAMPLES))
    if len(few):
        yield Finding(
            "few_samples",
            f"{_share_of_classes(few, dataset)} fewer than {FEW_TRAINING_SAMPLES} training "
            f"samples: {_named(few, dataset.class_names)}",
            "Add samples of these classes, or merge classes.",
        )
    total = len(dataset.y_test)
    if total < FEW_TEST_SAMPLES:
        yield Finding(
            "few_samples",
            f"there {'is 1 test sample' if total == 1 else f'are {total} test samples'}: an "
            f"accuracy measured on so few is known to ± {100 * min(margin(total), 1):.0f} points "
            "(95 % interval)",
            f"Hold out at least {FEW_TEST_SAMPLES} samples for testing where there are enough.",
        )


def _uneven(dataset: Dataset) -> Iterator[Finding]:
    counts = _class_counts(dataset, "train")
    smallest, largest = int(counts[counts > 0].min()), int(counts.max())
    if largest > UNEVEN * smallest:
        yield Finding(
            "uneven_classes",
            f"the largest class has {largest} training samples, the smallest {smallest}: a network "
            "gets far by naming the large ones",
            'Set loss.class_weights to "balanced", and look at the balanced accuracy.',
        )


def _flat(dataset: Dataset) -> Iterator[Finding]:
    channels = dataset.sample_shape[0]
    lowest, highest = np.full(channels, np.inf), np.full(channels, -np.inf)
    for chunk in _without_padding(dataset.x_train, dataset.lengths_train):
        others = tuple(axis for axis in range(chunk.ndim) if axis != chunk.ndim - 3)
        lowest = np.minimum(lowest, chunk.min(axis=others))
        highest = np.maximum(highest, chunk.max(axis=others))
        if (lowest != highest).all():
            return
    flat = np.flatnonzero(lowest == highest)
    noun = "feature" if dataset.are_features else "channel"
    names = [f"{noun} {index}" for index in range(channels)]
    message = (
        f"{len(flat)} of {channels} {noun}{'s' if channels > 1 else ''} "
        f"{'holds' if len(flat) == 1 else 'hold'} one value throughout the training samples "
        f"({_named(flat, names)}): nothing can be learnt of it"
    )
    for split in dataset.splits[1:]:
        own = getattr(dataset, f"x_{split}"), getattr(dataset, f"lengths_{split}")
        woken = flat[_differ(*own, flat, lowest[flat])]
        if len(woken):
            what = "test" if split == "test" else "validation"
            message += (
                f"; {what} samples hold others there ({_named(woken, names)}), which disturb a "
                "network that never saw any"
            )
    yield Finding(
        "constant_channel",
        message,
        f"Leave such {noun}s out, or check how they were written.",
    )


def _without_padding(x: NDArray[Any], lengths: NDArray[Any] | None) -> Iterator[NDArray[Any]]:
    """Block by block `x`, without the time steps behind the end of a sample: … C H W."""
    frames = frames_of(x)
    for start, stop in blocks.bounds(frames):
        chunk = frames[start:stop]
        if lengths is not None:
            chunk = chunk[np.arange(chunk.shape[1]) < lengths[start:stop, None]]
        yield chunk


def _differ(
    x: NDArray[Any],
    lengths: NDArray[Any] | None,
    channels: NDArray[np.int64],
    values: NDArray[Any],
) -> NDArray[np.bool_]:
    """Which of `channels` of `x` hold anything else than their one of `values`."""
    found = np.zeros(len(channels), np.bool_)
    for chunk in _without_padding(x, lengths):
        others = tuple(axis for axis in range(chunk.ndim) if axis != chunk.ndim - 3)
        found |= (chunk[..., channels, :, :] != values[:, None, None]).any(axis=others)
    return found


def _extreme(dataset: Dataset) -> Iterator[Finding]:
    if dataset.is_series:
        return  # the rule is for counts and brightness: a signal has any sign and scale
    for axis, message in told(extremes(dataset.x_train)):
        if dataset.is_events:
            means = "they are left out of the normalisation, and reach the network as they are"
        else:
            means = "the normalisation follows them, and the others hardly differ to the network"
        yield Finding(
            "extreme_values",
            f"{message}; {means}",
            f"Check these {axis}s: remove or clip values that are errors.",
        )


def _other_scale(dataset: Dataset) -> Iterator[Finding]:
    """Splits that were not scaled alike: the training samples standardised, and no others."""
    there = _moments(dataset, "train")
    varies = there.deviation != np.float32(LEAST_DEVIATION)
    for split in dataset.splits:
        if split == "train" or len(getattr(dataset, f"y_{split}")) < FEW_OF_A_SPLIT:
            continue
        here = _moments(dataset, split)
        wider = np.maximum(there.deviation, here.deviation)
        times = wider / np.minimum(there.deviation, here.deviation)
        apart = np.abs(here.mean - there.mean) / wider
        other = varies & ((times > OTHER_SCALE) | (apart > OTHER_SCALE))
        if 2 * other.sum() > varies.sum():
            what = "test" if split == "test" else "validation"
            at = int(np.flatnonzero(other)[0])
            yield Finding(
                "other_scale",
                f"the {what} samples are scaled in another way than the training samples: in "
                f"channel {at} values are {_around(here, at)} there, and {_around(there, at)} in "
                "the training samples",
                "Scale all splits alike: where the training samples were standardised, the others "
                "have to be, by the numbers of the training samples.",
            )


def _moments(dataset: Dataset, split: str) -> Statistics:
    """Mean and deviation of each channel of a split, of samples spread over it."""
    x, lengths = getattr(dataset, f"x_{split}"), getattr(dataset, f"lengths_{split}")
    step = -(-len(x) // SAMPLES_OF_A_SCALE)
    return channel_statistics(x[::step], dataset.unit, None if lengths is None else lengths[::step])


def _around(found: Statistics, channel: int) -> str:
    return f"{found.mean[channel]:.3g} ± {found.deviation[channel]:.3g}"


def _class_counts(dataset: Dataset, split: str) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = np.bincount(
        getattr(dataset, f"y_{split}"), minlength=dataset.classes
    )
    return counts


def _share_of_classes(some: NDArray[np.int64], dataset: Dataset) -> str:
    return f"{len(some)} of {dataset.classes} classes {'has' if len(some) == 1 else 'have'}"


def _named(indices: NDArray[np.int64], names: Sequence[str]) -> str:
    text = ", ".join(names[index] for index in indices[:NAMED])
    return f"{text}, …" if len(indices) > NAMED else text


def _ids(splits: Sequence[NDArray[Any]]) -> list[NDArray[np.int64]]:
    """A number for each sample, the same for samples of equal bytes: `(N,)` for each split."""
    hashes = np.concatenate([_hashes(x) for x in splits])  # (N of all, 2)
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    new = (hashes[order[1:]] != hashes[order[:-1]]).any(axis=1)
    ids = np.zeros(len(hashes), np.int64)
    ids[order[1:]] = np.cumsum(new)
    return np.split(ids, np.cumsum([len(x) for x in splits])[:-1])


def _hashes(x: NDArray[Any]) -> NDArray[np.uint64]:
    """128 bits of BLAKE2b of the bytes of each sample: uint64 `(N, 2)`."""
    found = np.empty((len(x), 2), np.uint64)
    for (start, stop), chunk in zip(blocks.bounds(x), _chunks(x), strict=True):
        digests = b"".join(blake2b(row, digest_size=_HASH_BYTES).digest() for row in chunk)
        found[start:stop] = np.frombuffer(digests, np.uint64).reshape(-1, 2)
    return found


def _chunks(x: NDArray[Any]) -> Iterator[NDArray[np.uint8]]:
    for chunk in blocks.blocks(x):
        yield _as_bytes(chunk)


def _as_bytes(x: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of each sample: `(N, bytes)`."""
    return np.ascontiguousarray(x).reshape(len(x), -1).view(np.uint8)
