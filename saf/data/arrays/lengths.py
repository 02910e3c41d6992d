"""How many time steps of padded samples are their own: lengths beside samples, and samples of
different lengths that become padded ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saf.data.arrays.axes import Axes
from saf.data.arrays.names import Roles
from saf.data.arrays.placing import Rows
from saf.data.arrays.stored.array import BLOCK_BYTES, Index, Stored
from saf.data.dataset import MAX_SERIES_STEPS, Array, Decision, check_lengths
from saf.data.sources.limits import Limits
from saf.errors import DataError


class Ragged(Stored):
    """Lists of numbers of different lengths (N, or N × C) as one array, padded by zeros behind:
    (N, T), or (N, C, T). `lengths` (N) are those of the lists. Raises DataError."""

    def __init__(self, name: str, lists: Any, dtype: np.dtype[Any]) -> None:
        self._lists = lists
        self.lengths = self._measured(name)
        steps = int(self.lengths.max())
        super().__init__(name, (*lists.shape, steps), dtype)

    def _measured(self, name: str) -> NDArray[np.int64]:
        found = np.zeros(len(self._lists), np.int64)
        for row in range(len(self._lists)):
            lengths = {len(each) for each in np.atleast_1d(self._channels(row))}
            if len(lengths) > 1:
                raise DataError(
                    f"{name}: the channels of sample {row} have different lengths, "
                    f"{min(lengths)} to {max(lengths)}",
                    hint="Give all channels of a sample the same number of time steps.",
                )
            found[row] = lengths.pop()
        if not 1 <= found.min() <= found.max() <= MAX_SERIES_STEPS:
            raise DataError(
                f"{name} holds lists of {found.min()} to {found.max()} time steps; 1 to "
                f"{MAX_SERIES_STEPS} are accepted",
                hint="Leave out empty samples, and cut or thin out long ones.",
            )
        return found

    def _channels(self, row: int) -> Any:
        try:
            values = self._lists[row]
        except Exception as error:  # whatever the library stumbles over
            raise DataError(
                f"sample {row} cannot be read: {str(error)[:200]}", hint="Write the file again."
            ) from error
        if len(self._lists.shape) == 1:
            boxed = np.empty(1, object)
            boxed[0] = values
            return boxed
        return values

    def blocks(self) -> Iterator[tuple[Index, Array]]:
        inner = self.shape[1:]
        step = max(1, BLOCK_BYTES // max(1, int(np.prod(inner)) * self.dtype.itemsize))
        for start in range(0, self.shape[0], step):
            stop = min(start + step, self.shape[0])
            block = np.zeros((stop - start, *inner), self.dtype)
            for row in range(start, stop):
                rows = block[row - start].reshape(-1, inner[-1])
                for channel, values in enumerate(self._channels(row)):
                    rows[channel, : len(values)] = values
            yield (slice(start, stop), *(slice(0, n) for n in inner)), block

    @property
    def layout(self) -> str:
        """The order of the axes."""
        return "N T" if len(self.shape) == 2 else "N C T"


def lengths_of(
    roles: Roles, axes: Axes, limits: Limits, told: list[Decision]
) -> dict[str, NDArray[np.int64]]:
    """The lengths of the samples of each split, none where there are none. Raises DataError where
    they are no numbers of time steps, or those of a split lack."""
    found: dict[str, NDArray[np.int64]] = {}
    for split, samples in roles.samples.items():
        if isinstance(samples, Ragged):
            found[split] = samples.lengths
        elif split in roles.lengths and axes.is_temporal:
            steps = samples.shape[axes.order.split().index("T")]
            if len(samples.shape) != len(axes.order.split()):
                raise DataError(
                    f"there is {roles.lengths[split].name}, and samples are rows",
                    hint="Save samples with an axis of time, N T C.",
                )
            array = roles.lengths[split]
            values = array.whole(limits).reshape(-1)
            if values.dtype.kind == "f" and (values == np.rint(values)).all():
                values = values.astype(np.int64)
            found[split] = check_lengths(values, array.name, _count(samples, axes), steps)
    names = ", ".join(array.name for array in roles.lengths.values())
    if roles.lengths and not axes.is_temporal:
        told.append(Decision("", f"left out: {names}", "the samples have no axis of time"))
    if found and set(found) != set(roles.samples):
        lacking = ", ".join(sorted(set(roles.samples) - set(found)))
        raise DataError(
            f"there are lengths for {', '.join(sorted(found))}, and none for {lacking}",
            hint="Give the lengths of the samples of all splits (lengths_train, lengths_test), or "
            "of none.",
        )
    if found:
        every = np.concatenate(list(found.values()))
        told.append(
            Decision(
                "",
                f"lengths of {every.min()} to {every.max()} time steps",
                f"{names or 'the lists of the file'}; what lies beyond is padding",
            )
        )
    return found


def placed(
    lengths: Mapping[str, NDArray[np.int64]], goals: Mapping[str, Mapping[str, Rows]]
) -> dict[str, NDArray[np.int64]]:
    """The lengths of the splits that samples go to."""
    counts: dict[str, int] = {}
    for targets in goals.values():
        for split, rows in targets.items():
            counts[split] = max(counts.get(split, 0), int(rows.max(initial=-1)) + 1)
    found = {split: np.zeros(count, np.int64) for split, count in counts.items()}
    for name, targets in goals.items():
        for split, rows in targets.items():
            found[split][rows[rows >= 0]] = lengths[name][rows >= 0]
    return found


def _count(samples: Stored, axes: Axes) -> int:
    return samples.shape[axes.order.split().index("N")]
