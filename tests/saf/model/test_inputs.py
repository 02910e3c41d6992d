"""What a network gets at each time step, made when it is asked for."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from saf.model.inputs import Frames


@settings(max_examples=30, deadline=None)
@given(
    timesteps=st.integers(1, 60),
    behind=st.integers(0, 5),
    asked=st.lists(st.tuples(st.integers(0, 59), st.integers(1, 20)), max_size=8),
)
def test_frames_are_the_same_in_whichever_order_they_are_asked_for(
    timesteps: int, behind: int, asked: list[tuple[int, int]]
) -> None:
    def made(first: int, steps: int, memory: Tensor | None) -> tuple[Tensor, Tensor | None]:
        assert first + steps <= timesteps
        before = torch.zeros(1, 1) if memory is None else memory
        sums = before + torch.arange(first, first + steps).cumsum(0).view(-1, 1, 1)
        return sums, sums[-1]

    whole = torch.arange(timesteps).cumsum(0).view(-1, 1, 1)
    frames = Frames(made, timesteps, behind)
    for first, steps in asked:
        end = min(timesteps, first + steps)
        if first < end:
            assert torch.equal(frames.between(first, end), whole[first:end])


def test_of_long_series_nothing_but_the_samples_grows() -> None:
    largest = 0

    def made(first: int, steps: int, memory: Tensor | None) -> tuple[Tensor, Tensor | None]:
        nonlocal largest
        largest = max(largest, steps)
        return torch.full((steps, 1, 1), float(first)), None

    frames = Frames(made, 1000, 3)
    for t in range(1000):
        frames[t]
        if t >= 3:
            frames.between(t - 3, t - 2)
    kept = frames.between(999, 1000).untyped_storage().nbytes() // 4
    assert kept <= largest + 16 + 3
    assert largest <= 16
