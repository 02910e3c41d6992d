"""Multiplications, counted by hand."""

from __future__ import annotations

import pytest

from saf.estimate.operations import evaluations, multiply_adds
from saf.networks.build import build
from saf.networks.convnet import ConvNet
from saf.networks.layers import LayerList
from tests.saf.training.trainings import resolved


def test_a_convolution_multiplies_at_each_place_and_a_linear_map_once() -> None:
    architecture = build(ConvNet(channels=(4, 8)), (1, 8, 8), 10)
    # 3 × 3 on 8 × 8 from 1 channel to 4; pooled; on 4 × 4 from 4 to 8; 8 · 4 · 4 to 10 classes.
    assert multiply_adds(architecture) == 4 * 9 * 64 + 8 * 4 * 9 * 16 + 128 * 10


def test_groups_and_strides_multiply_less() -> None:
    layers = LayerList.model_validate(
        {
            "layers": [
                {"kind": "conv", "channels": 4},
                {"kind": "conv", "channels": 4, "groups": 4, "stride": 2},
            ]
        }
    )
    architecture = build(layers, (1, 8, 8), 2)
    assert multiply_adds(architecture) == 4 * 9 * 64 + 4 * 1 * 9 * 16 + 64 * 2


@pytest.mark.parametrize(("method", "times"), [("saf-e", 18), ("ottt-a", 18), ("saf-f", 8)])
def test_a_loss_at_the_last_step_goes_backward_once(method: str, times: int) -> None:
    job = resolved({"method": {"name": method}, "timesteps": 6})
    assert evaluations(job) == times
