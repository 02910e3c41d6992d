"""Numbers on a grid: pixels, weights, and the file that says so."""

from pathlib import Path
from typing import Any

import pytest
import torch

from saf.lif.convert import on_grid
from saf.lif.grid.fixed_point import Grid, is_on_grid, look_up, pixel_values
from saf.lif.network import LIFNetwork, load_lif
from tests.saf.lif.grid_networks import (
    architecture_of_one_layer,
    converted,
    described,
    exact_grid,
    images,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_byte_comes_back_as_its_level(dtype: torch.dtype) -> None:
    levels = torch.arange(256)
    table = torch.stack([levels, 1000 + levels]).double()
    x = (levels.to(dtype) / 255).view(256, 1, 1, 1).expand(256, 2, 1, 1)
    assert torch.equal(look_up(x, table)[:, 0, 0, 0], levels.double())
    assert torch.equal(look_up(x, table)[:, 1, 0, 0], 1000 + levels.double())


def test_pixel_values_are_the_normalisation_on_the_grid() -> None:
    values = pixel_values((0.5,), (0.25,), 3)
    assert values.shape == (1, 256)
    assert values[0, 0] == -2.0
    assert values[0, 255] == 2.0
    assert is_on_grid(values, 3)
    assert (values[0] - (torch.arange(256).double() / 255 - 0.5) / 0.25).abs().max() <= 2**-4


def test_step_by_step_a_network_on_a_grid_does_what_it_does_at_once() -> None:
    lif = exact_grid(converted(architecture_of_one_layer(), 3, 4, "saf-f"))
    x = images(0, 5)
    state = None
    for _ in range(4):
        scores, state = lif.step(x, state)
    assert torch.equal(scores, lif(x))


def test_file_of_a_network_on_a_grid_says_so_and_gives_the_same_scores(tmp_path: Path) -> None:
    lif, x = on_grid(converted(architecture_of_one_layer(), 1, 4, "saf-f"), 9), images(1, 5)
    lif.save(tmp_path / "lif.safetensors")
    again = load_lif(tmp_path / "lif.safetensors")
    assert again.description == lif.description
    assert again.description.grid == Grid(bits=9, input_bits=10)
    assert torch.equal(again(x), lif(x))


def test_weights_beside_the_grid_of_the_header_are_refused() -> None:
    lif = on_grid(converted(architecture_of_one_layer(), 1, 4, "saf-f"), 9)
    tensors = dict(lif.tensors)
    tensors["layer1.bias"] = tensors["layer1.bias"] + 2.0**-10
    with pytest.raises(ValueError, match=r"layer1.bias is not on the grid of 2\^-9"):
        LIFNetwork(lif.description, tensors)


@pytest.mark.parametrize(
    "changes",
    [
        {"decay": 0.75},
        {"decay": 2.0**-21},
        {"threshold": 2.0},
        {"neurons": {"layer1": {"name": "lif", "decay": 0.3, "threshold": 1.0}}},
        {"neurons": {"layer1": {"name": "lif", "decay": 0.5, "threshold": 2.0}}},
        {"neurons": {"layer1": {"name": "plif", "decay": 0.5, "threshold": 1.0}}},
        {"neurons": {"layer1": {"name": "cuba", "synaptic_decay": 0.9}}},
        {"neurons": {"layer1": {"name": "alif", "adaptation": 0.2, "adaptation_decay": 0.5}}},
    ],
    ids=str,
)
def test_header_that_contradicts_the_proof_is_refused(changes: dict[str, Any]) -> None:
    grid = Grid(bits=9, input_bits=4)
    with pytest.raises(ValueError, match="on a grid"):
        described(architecture_of_one_layer(), 4, grid, mean=(0, 0), std=(1, 1), **changes)
