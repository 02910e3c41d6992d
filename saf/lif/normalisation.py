"""The input of a LIF network as its first layer gets it: normalised by channel, then encoded.

Shapes: `N` samples, `K` time steps at once, `C H W` one image or frame.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saf.lif.grid.fixed_point import look_up, pixel_values
from saf.lif.header import LIFDescription
from saf.lif.sequence import SequenceState
from saf.model.operations import channels_last


class InputNormalisation(torch.nn.Module):
    """A module with the mean, the standard deviation and the encoding of `description`'s input."""

    description: LIFDescription
    _mean: Tensor
    _std: Tensor
    _pixel_values: Tensor | None

    def _set_normalisation(self) -> None:
        """Make mean and std of the input from the description, rounded once to the type of the
        weights, whichever type they had before; and the encoding, which has no weights."""
        description, anyone = self.description, next(self.parameters())
        self._encoding = description.encoding_of_input()
        per_channel = (-1, *(1,) * (len(description.architecture.input_shape) - 1))
        grid, pixels = description.grid, None
        if grid is not None:
            pixels = pixel_values(description.mean, description.std, grid.input_bits).to(anyone)
        for name, value in (
            ("_mean", torch.tensor(description.mean).to(anyone).view(per_channel)),
            ("_std", torch.tensor(description.std).to(anyone).view(per_channel)),
            ("_pixel_values", pixels),
        ):
            self.register_buffer(name, value, persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights and of the arithmetic."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def _changes(self) -> bool:
        """Whether the first layer gets another input at each time step."""
        return self.description.frames or self._encoding.over_time

    def _shown(self, x: Tensor, first: int, steps: int) -> Tensor:
        """What is shown of samples `x` at `steps` time steps, K N C H W: frames, or one image."""
        if not self.description.frames:
            return x.expand(steps, *x.shape)
        return x[:, first : first + steps].transpose(0, 1)

    def _arriving(self, x: Tensor, state: SequenceState) -> tuple[Tensor, SequenceState]:
        """The input of the first layer at K time steps, K · N …, of `x`, K N …, normalised and
        encoded; and `state` with the memory of the encoding."""
        normalised = self._normalised(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        encoded, memory = self._encoding.encoded(normalised, state.encoding, state.steps)
        return channels_last(encoded.flatten(0, 1)), state._replace(encoding=memory)

    def _arriving_image(self, x: Tensor) -> Tensor:
        """The input of the first layer, N …, of images, or of single time steps that need none
        before."""
        encoded, _ = self._encoding.encoded(self._normalised(x)[None], None, 0)
        return channels_last(encoded[0])

    def _normalised(self, x: Tensor) -> Tensor:
        """The input as the network computes with it."""
        return channels_last(self._normalise(x.to(self.device)))

    def _normalise(self, x: Tensor) -> Tensor:
        if self._pixel_values is not None:
            return look_up(x, self._pixel_values)
        return (x.to(self.dtype) - self._mean) / self._std
