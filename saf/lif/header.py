"""What a LIF network is, without its weights: the header of `lif.safetensors`.

Shapes: `T` time steps, `C H W` one image or frame.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from saf.config import MOST_GRID_TIMESTEPS, MOST_TIMESTEPS
from saf.lif.fixed_point import Grid
from saf.networks.architecture import (
    Architecture,
    AveragePool,
    Population,
    Scale,
    Shape,
    weighted,
)


class LIFDescription(BaseModel):
    """The header of `lif.safetensors`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal["saf-lif/1"] = "saf-lif/1"
    architecture: Architecture
    decay: Annotated[float, Field(gt=0, le=1)]
    """λ"""
    threshold: Annotated[float, Field(ge=1e-30, le=1e30)]
    """V"""
    timesteps: Annotated[int, Field(ge=1, le=MOST_TIMESTEPS)]
    """T"""
    readout: Literal["sum", "final"]
    frames: bool
    """Whether a sample is a sequence of T frames (`T C H W`) and not one image (`C H W`)."""
    mean: tuple[float, ...]
    """Per channel, subtracted from the input …"""
    std: tuple[Annotated[float, Field(gt=0)], ...]
    """… which is then divided by this."""
    class_names: tuple[str, ...]
    grid: Grid | None = None
    """What the weights, the pixels and the currents of the input are rounded to; null: nothing."""
    specification: dict[str, Any]
    """The job that trained the network, for the record."""

    @model_validator(mode="after")
    def _can_be_on_a_grid(self) -> LIFDescription:
        if self.grid is None:
            return self
        if self.decay != 0.5 or self.threshold != 1.0 or self.timesteps > MOST_GRID_TIMESTEPS:
            raise ValueError(
                f"a network on a grid has λ = 0.5, V = 1 and T ≤ {MOST_GRID_TIMESTEPS}"
            )
        for population in (*self.architecture.populations, self.architecture.readout):
            for operation in (o for c in population.connections for o in c.operations):
                if isinstance(operation, AveragePool):
                    raise ValueError("a network on a grid has sum pooling, not average pooling")
                if isinstance(operation, Scale) and (operation.factor * 2**self.grid.bits) % 1:
                    raise ValueError(f"the factor {operation.factor} is not on the grid")
        return self

    def tensor_shapes(self) -> dict[str, Shape]:
        """Shape of every tensor of the file, by name."""
        shapes = self.architecture.shapes()
        weights = self.architecture.weight_shapes()
        expected: dict[str, Shape] = {}
        for population in (*self.architecture.populations, self.architecture.readout):
            for name in weight_names(population):
                expected[name] = next(weights)
            expected[f"{population.name}.bias"] = shapes[population.name][:1]
        return expected


def weight_names(population: Population) -> list[str]:
    """Names of the weights of `population`, in the order of its connections and operations."""
    count = sum(len(weighted(connection)) for connection in population.connections)
    return [f"{population.name}.{number}.weight" for number in range(count)]
